/* The kinds of machine that made a run's samples. */
#include "run/machines.h"

#include "base/log.h"
#include "base/text.h"
#include "run/claim.h"

#include <stdlib.h>

static const char key[] = "made_with", of_last[] = "hosts";

int machines_take(json_t *document, const json_t *other, struct error *err) {
    const char *const both[] = {key, of_last};
    for (int i = 0; i < 2; i++) {
        json_t *known = json_object_get(other, both[i]);
        if (!known) json_object_del(document, both[i]);
        else if (json_object_set(document, both[i], known) != 0) return error_memory(err);
    }
    return 0;
}

int machines_add(json_t *document, json_t *hosts, bool *changed, struct error *err) {
    json_t *made = json_object_get(document, key), *host, *known;
    size_t i, k;
    if (json_object_set(document, of_last, hosts) != 0) return error_memory(err);
    if (!json_is_array(made) && json_object_set_new(document, key, made = json_array()) != 0) return error_memory(err);
    json_array_foreach(hosts, i, host) {
        json_t *machine = json_object_get(host, "machine");
        bool there = false;
        json_array_foreach(made, k, known) there |= json_equal(known, machine);
        if (there || !machine) continue;
        if (json_array_append(made, machine) != 0) return error_memory(err);
        if (changed) *changed = true;
    }
    return 0;
}

char *machines_mixed(const json_t *document) {
    const json_t *made = json_object_get(document, key), *machine;
    struct text text = {0};
    size_t i;
    if (json_array_size(made) < 2) return NULL;
    json_array_foreach(made, i, machine)
        text_add(&text, "%s%s", i ? "; " : "", json_string_value(machine) ? json_string_value(machine) : "?");
    if (text.failed) text_release(&text);
    return text.data;
}

int machines_note(struct cells *cells, json_t *hosts, struct error *err) {
    bool warned = false;
    for (size_t i = 0; i < cells->count; i++) {
        const struct run *run = &cells->cells[i].run;
        bool changed = false, same = json_equal(json_object_get(run->document, of_last), hosts);
        if (cells->cells[i].missing == 0) continue;
        if (machines_add(run->document, hosts, &changed, err) != 0) return -1;
        if (!same && claim_note(run, of_last, hosts, err) != 0) return -1;
        if (changed && claim_note(run, key, json_object_get(run->document, key), err) != 0) return -1;
        char *mixed = warned ? NULL : machines_mixed(run->document);
        if (mixed)
            log_warn("%s: its samples are made on several kinds of machine, which give other last bits: %s; for the "
                     "bits of one, keep to one kind",
                     run->dir, mixed);
        warned |= mixed != NULL;
        free(mixed);
    }
    return 0;
}
