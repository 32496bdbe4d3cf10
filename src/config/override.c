/* --set key.path=value on a job as read. */
#include "config/override.h"

#include "base/text.h"
#include "config/yaml.h"

#include <stdlib.h>
#include <string.h>

/* Forgets where path and all below it stood. */
static void places_forget(json_t *places, const char *path) {
    const char *name;
    json_t *place;
    void *next;
    size_t length = strlen(path);
    json_object_foreach_safe(places, next, name, place) {
        bool below = strncmp(name, path, length) == 0 && (name[length] == '.' || name[length] == '[' || !name[length]);
        if (below) json_object_del(places, name);
    }
}

/* The map that is to hold the last word of path, made where missing; *last points at that word. Borrowed; NULL with
 * the error set. */
static json_t *override_parent(json_t *root, char *path, const char **last, const char *source, struct error *err) {
    json_t *map = root;
    char *word = path;
    for (char *dot; (dot = strchr(word, '.')); word = dot + 1) {
        *dot = '\0'; /* path ends with this word for a while */
        json_t *child = json_object_get(map, word);
        if (!child && json_object_set_new(map, word, child = json_object()) != 0) {
            error_memory(err);
            return NULL;
        }
        if (!json_is_object(child)) {
            error_set(err, CODE_DATA,
                      "%s: expected %s to be a map in the job file, found something else; set the whole of it", source,
                      path);
            return NULL;
        }
        *dot = '.';
        map = child;
    }
    *last = word;
    return map;
}

int override_apply(json_t *root, json_t *places, const char *override, const char *values, struct error *err) {
    const char *equals = strchr(override, '='), *last;
    size_t length = equals ? (size_t)(equals - override) : 0;
    if (length == 0 || override[0] == '.' || equals[-1] == '.' || memmem(override, length, "..", 2))
        return error_set(err, CODE_USAGE, "--set %s: expected key.path=value, such as sampler.nfe=10", override);
    char *path = strndup(override, length), *source = text_new("--set %s", override);
    json_t *value = NULL, *parent;
    int rc = -1;
    if (!path || !source) {
        error_memory(err);
    } else if (yaml_parse(&value, NULL, equals + 1, strlen(equals + 1), source, err) != 0) {
        if (err->code == CODE_DATA) err->code = CODE_USAGE;
    } else if ((parent = override_parent(root, path, &last, source, err))) {
        places_forget(places, path);
        rc = 0;
        if (json_is_null(value) && !(values && strncmp(path, values, strlen(values)) == 0))
            json_object_del(parent, last);
        else if (json_object_set(parent, last, value) != 0 ||
                 json_object_set_new(places, path, json_pack("[ss]", source, source)) != 0)
            rc = error_memory(err);
    }
    json_decref(value);
    free(source);
    free(path);
    return rc;
}

const char *override_named(const char *message, const char *const *overrides, size_t count) {
    size_t key = strcspn(message, ": ");
    while (count-- > 0) {
        size_t length = strcspn(overrides[count], "=");
        bool names = length <= key && strncmp(message, overrides[count], length) == 0;
        if (names && (length == key || message[length] == '.' || message[length] == '[')) return overrides[count];
    }
    return NULL;
}
