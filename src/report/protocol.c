/* The lines of a protocol, gathered from run.json and metrics.json, and their three forms. */
#include "report/protocol.h"

#include "base/hash.h"
#include "cluster/build.h"
#include "format/json_file.h"
#include "report/about.h"
#include "report/collect.h"
#include "report/markup.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { SHORT_DIGEST = 12, DIGITS = 6, MOST_SHOWN = 200 };

const char *const protocol_form_names[] = {"text", "markdown", "latex", NULL};

/* ---- one form ---- */

struct protocol {
    enum protocol_form form;
    struct text *out;
};

/* What prints a text's first character where LaTeX needs more than a backslash before it, by names behind the
 * character; NULL: it does not. */
static const char *latex_of(const char *text) {
    static const char *const names[] = {"\\textbackslash{}", "^\\textasciicircum{}", "~\\textasciitilde{}",
                                        "<\\textless{}",     ">\\textgreater{}",     "|\\textbar{}",
                                        "\"\\char34{}",      "`\\char96{}"};
    if (strchr("-'", *text) && text[1] == text[0]) return *text == '-' ? "-{}" : "'{}"; /* no dash, no quotation mark */
    if (*text == '\\') return names[0];
    for (size_t i = 1; i < sizeof names / sizeof *names; i++)
        if (*names[i] == *text) return names[i] + 1;
    return NULL;
}

static void add_escaped(struct protocol *protocol, const char *text) {
    static const char plus_minus[] = "\xc2\xb1";
    static const char *const escaped[] = {"", "\\`*_{}[]<>|#~", "{}$&#%_"}; /* by a backslash, in each form */
    struct text *out = protocol->out;
    for (size_t length; *text; text += length) {
        bool plain;
        const char *latex = protocol->form == PROTOCOL_LATEX ? latex_of(text) : NULL;
        length = text_character(text, &plain);
        if (!plain) text_add(out, "?");
        else if (latex) text_add(out, "%s", latex);
        else if (protocol->form == PROTOCOL_LATEX && strncmp(text, plus_minus, length) == 0) text_add(out, "$\\pm$");
        else if (strchr(escaped[protocol->form], *text)) text_add(out, "\\%c", *text);
        else text_add(out, "%.*s", (int)length, text);
    }
}

static void add_line(struct protocol *protocol, const char *name, const char *value) {
    static const char *const before[] = {"", "| ", "  "}, *const after[] = {"\n", " |\n", " \\\\\n"};
    struct text *out = protocol->out;
    size_t start = out->length;
    if (!value || !*value) return;
    text_add(out, "%s", before[protocol->form]);
    add_escaped(protocol, name);
    if (protocol->form == PROTOCOL_TEXT)
        text_add(out, "%*s", out->length - start < 18 ? (int)(18 + start - out->length) : 1, "");
    else text_add(out, protocol->form == PROTOCOL_LATEX ? " & " : " | ");
    add_escaped(protocol, value);
    text_add(out, "%s", after[protocol->form]);
}

/* Takes the text over. */
static void add_text(struct protocol *protocol, const char *name, struct text *value) {
    protocol->out->failed |= value->failed;
    add_line(protocol, name, value->data);
    text_release(value);
}

static void begin(struct protocol *protocol) {
    if (protocol->form == PROTOCOL_MARKDOWN) text_add(protocol->out, "| | |\n|---|---|\n");
    if (protocol->form == PROTOCOL_LATEX) text_add(protocol->out, "\\begin{tabular}{lp{0.7\\linewidth}}\n\\hline\n");
}

static void end(struct protocol *protocol) {
    if (protocol->form == PROTOCOL_LATEX) text_add(protocol->out, "\\hline\n\\end{tabular}\n");
}

/* ---- pieces of values ---- */

/* A list or map too long to be read is named by a digest. */
static void add_value(struct text *out, const json_t *value) {
    bool simple = !json_is_array(value) && !json_is_object(value);
    char *text = simple ? markup_value(value, DIGITS) : json_text(value, JSON_SORT_KEYS | JSON_REAL_PRECISION(17));
    char digest[SHA256_HEX];
    if (text && !simple && strlen(text) > MOST_SHOWN) {
        sha256_bytes(text, strlen(text), digest);
        text_add(out, "in run.json (sha256 %.*s)", SHORT_DIGEST, digest);
    } else {
        text_add(out, "%s", text ? text : "");
    }
    out->failed |= !text;
    free(text);
}

/* ", sha256 0123456789ab", where it is known. */
static void add_digest(struct text *out, const json_t *sha256) {
    if (json_is_string(sha256)) text_add(out, ", sha256 %.*s", SHORT_DIGEST, json_string_value(sha256));
}

/* A file's name without its folders, which are nobody else's. */
static void add_file(struct text *out, const json_t *path, const json_t *sha256) {
    const char *name = json_string_value(path), *slash = name ? strrchr(name, '/') : NULL;
    text_add(out, "%s", slash ? slash + 1 : name ? name : "a file");
    add_digest(out, sha256);
}

/* "key value, key value" of those keys that are in `names` (ended by NULL), or, others true, that are not. */
static void add_keys(struct text *out, const json_t *object, const char *const *names, bool others) {
    const char *key;
    const json_t *value;
    json_object_foreach((json_t *)object, key, value) {
        bool named = false;
        for (size_t i = 0; names[i]; i++) named |= strcmp(names[i], key) == 0;
        if (named == others || json_is_null(value) || json_is_false(value)) continue;
        text_add(out, "%s%s ", out->length ? ", " : "", key);
        add_value(out, value);
    }
}

/* ---- the lines ---- */

static const char *const grid_keys[] = {"grid", "steps", "steps_offset", "shift", "t_start", "t_end", "final", NULL};
/* Those that have another line than the solver's. */
static const char *const placed_keys[] = {"solver",       "nfe",   "guidance", "state", "clip",  "grid", "steps",
                                          "steps_offset", "shift", "t_start",  "t_end", "final", NULL};

static void add_network(struct protocol *protocol, const json_t *document) {
    const json_t *keys = json_object_get(document, "keys"), *decode = json_object_get(keys, "decode");
    struct text network = {0}, arithmetic = {0}, decoder = {0};
    add_file(&network, json_member(json_object_get(document, "job"), "model", "path"),
             json_member(keys, "model", "sha256"));
    add_text(protocol, "network", &network);
    const char *dtype = json_string_value(json_member(document, "card", "dtype"));
    add_value(&arithmetic, json_object_get(keys, "precision"));
    if (dtype && strcmp(dtype, "float32") != 0) text_add(&arithmetic, "; network %s inside", dtype);
    text_add(&arithmetic, "; state ");
    add_value(&arithmetic, json_member(keys, "sampler", "state"));
    text_add(&arithmetic, "; batch ");
    add_value(&arithmetic, json_object_get(keys, "batch"));
    add_text(protocol, "arithmetic", &arithmetic);
    if (decode) {
        add_file(&decoder, json_member(json_object_get(document, "job"), "decode", "path"),
                 json_object_get(decode, "sha256"));
        add_text(protocol, "decoder", &decoder);
    }
}

static void add_guidance(struct protocol *protocol, const json_t *sampler) {
    static const char *const model[] = {"model", NULL};
    const json_t *guidance = json_object_get(sampler, "guidance");
    struct text value = {0};
    if (json_is_number(guidance) && json_number_value(guidance) == 1) text_add(&value, "none");
    else if (json_is_object(guidance)) add_keys(&value, guidance, model, true);
    else {
        text_add(&value, "scale ");
        add_value(&value, guidance);
    }
    if (json_member(sampler, "guidance", "model")) text_add(&value, ", by a second network");
    add_digest(&value, json_object_get(json_member(sampler, "guidance", "model"), "sha256"));
    add_text(protocol, "guidance", &value);
}

static void add_sampler(struct protocol *protocol, const json_t *document, const json_t *metrics) {
    const json_t *sampler = json_member(document, "keys", "sampler"), *nfe = json_object_get(metrics, "nfe");
    struct text solver = {0}, number = {0}, grid = {0}, clip = {0};
    bool adaptive = !(json_number_value(nfe) > 0);
    const json_t *warnings = json_object_get(document, "warnings");
    if (json_object_get(sampler, "table")) about_table(&solver, document);
    else {
        add_value(&solver, json_object_get(sampler, "solver"));
        add_keys(&solver, sampler, placed_keys, true);
    }
    add_text(protocol, "solver", &solver);
    for (size_t i = 0; i < json_array_size(warnings); i++)
        add_line(protocol, "warning", json_string_value(json_array_get(warnings, i)));
    add_value(&number, adaptive ? json_member(metrics, "generation", "nfe") : nfe);
    text_add(&number, adaptive ? " a sample in the mean" : "");
    if (json_number_value(json_object_get(metrics, "model_calls")) > json_number_value(nfe) && !adaptive) {
        text_add(&number, ", model calls ");
        add_value(&number, json_object_get(metrics, "model_calls"));
    }
    add_text(protocol, "NFE", &number);
    add_keys(&grid, sampler, grid_keys, false);
    add_text(protocol, "grid", &grid);
    add_guidance(protocol, sampler);
    if (!json_is_false(json_object_get(sampler, "clip"))) add_value(&clip, json_object_get(sampler, "clip"));
    add_text(protocol, "clipping of x0", &clip);
}

/* Which rows of which files the samples got. */
static void add_conditions(struct protocol *protocol, const json_t *conditions) {
    const char *name;
    const json_t *input;
    struct text value = {0};
    json_object_foreach(json_object_get(conditions, "inputs"), name, input) {
        text_add(&value, "%s%s", value.length ? "; " : "", name);
        add_digest(&value, json_object_get(input, "sha256"));
    }
    if (conditions) {
        text_add(&value, "; %lld rows, ", (long long)json_integer_value(json_object_get(conditions, "count")));
        add_value(&value, json_object_get(conditions, "rows"));
    }
    add_digest(&value, json_object_get(conditions, "rows_sha256"));
    add_text(protocol, "conditions", &value);
}

static void add_samples(struct protocol *protocol, const json_t *document, const json_t *metrics) {
    static const char *const rule[] = {"rule", "sha256", NULL};
    const json_t *keys = json_object_get(document, "keys"), *labels = json_object_get(keys, "labels"),
                 *left_out = json_object_get(metrics, "quarantine"), *one;
    struct text value = {0}, seeds = {0}, stop = {0}, stored = {0};
    size_t i;
    if (json_is_object(json_member(document, "card", "labels"))) {
        add_value(&value, json_object_get(labels, "rule"));
        add_keys(&value, labels, rule, true);
        add_digest(&value, json_object_get(labels, "sha256"));
        add_text(protocol, "labels", &value);
    }
    add_conditions(protocol, json_object_get(keys, "conditions"));
    about_seeds(&seeds, document, metrics);
    text_add(&seeds, ", noise of ");
    add_value(&seeds, json_object_get(keys, "noise"));
    if (json_is_string(json_object_get(keys, "initial"))) text_add(&seeds, ", from given starts");
    add_digest(&seeds, json_object_get(keys, "initial"));
    add_text(protocol, "seeds", &seeds);
    about_stop(&stop, document, metrics);
    add_text(protocol, "stopped early", &stop);
    add_value(&stored, json_member(keys, "output", "dtype"));
    if (json_is_string(json_member(keys, "output", "rounding"))) text_add(&stored, ", rounded by the rule ");
    add_value(&stored, json_member(keys, "output", "rounding"));
    add_text(protocol, "stored as", &stored);
    json_array_foreach(left_out, i, one) {
        struct text line = {0};
        text_add(&line, "seeds ");
        add_value(&line, json_object_get(one, "seeds"));
        text_add(&line, " failed: ");
        add_value(&line, json_object_get(one, "reason"));
        add_text(protocol, "left out", &line);
    }
}

/* The number NAME_what that stands beside NAME; NULL: there is none. */
static const json_t *beside(const json_t *values, const char *name, const char *what) {
    char *key = text_new("%s_%s", name, what);
    const json_t *value = key ? json_object_get(values, key) : NULL;
    free(key);
    return value;
}

/* A line a metric: its value, and its error. */
static void add_metrics(struct protocol *protocol, const json_t *values) {
    static const char *const parts[] = {"_corrected", "_error", "_low", "_high", "_std"};
    const char *name;
    const json_t *value;
    json_object_foreach((json_t *)values, name, value) {
        struct text line = {0};
        bool part = !json_is_number(value) || strcmp(name, "samples") == 0;
        for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) part |= text_ends_in(name, parts[i]);
        if (part) continue;
        add_value(&line, value);
        const json_t *error = beside(values, name, "error"), *deviation = beside(values, name, "std");
        if (error) {
            text_add(&line, "; without the bias of finite samples ");
            add_value(&line, beside(values, name, "corrected"));
            text_add(&line, " \xc2\xb1 %.2g (standard error)", json_number_value(error));
        } else if (deviation) {
            text_add(&line, " \xc2\xb1 %.2g (standard deviation over subsets)", json_number_value(deviation));
        }
        add_text(protocol, name, &line);
    }
}

/* A set that samples were compared with; network: of several, the name of the one that it is for. */
static void add_set(struct protocol *protocol, const char *which, const json_t *of, const char *network) {
    const json_t *count = json_object_get(of, "count"), *recipe = json_object_get(of, "recipe");
    struct text set = {0};
    char title[128];
    snprintf(title, sizeof title, "%s%s%s", which, network ? " of " : "", network ? network : "");
    add_file(&set, json_object_get(of, "path"), json_object_get(of, "sha256"));
    if (json_is_integer(count)) text_add(&set, ", of %lld images", (long long)json_integer_value(count));
    if (json_is_string(recipe)) text_add(&set, ", prepared by the recipe %s", json_string_value(recipe));
    add_text(protocol, title, &set);
}

/* One network, its file and its sets; name: of several. */
static void add_compared(struct protocol *protocol, const json_t *with, const json_t *file, const char *name) {
    const json_t *validation = json_object_get(with, "validation"), *dim;
    struct text network = {0};
    char title[128];
    const char *output;
    snprintf(title, sizeof title, "feature network%s%s", name ? " " : "", name ? name : "");
    add_file(&network, file, json_member(with, "network", "sha256"));
    json_object_foreach((json_t *)json_member(with, "network", "outputs"), output, dim)
        text_add(&network, ", %s %lld", output, (long long)json_integer_value(dim));
    add_text(protocol, title, &network);
    add_set(protocol, "reference", json_object_get(with, "reference"), name);
    if (validation) add_set(protocol, "validation set", validation, name);
}

static void add_evaluation(struct protocol *protocol, const json_t *document, const json_t *metrics) {
    const json_t *values = json_object_get(metrics, "metrics"), *networks = json_object_get(values, "networks"), *with;
    struct text samples = {0};
    const char *name;
    add_value(&samples,
              json_is_object(values) ? json_object_get(values, "samples") : json_object_get(metrics, "samples"));
    add_text(protocol, "samples (N)", &samples);
    if (!json_is_object(values)) {
        add_line(protocol, "metrics", "none: not evaluated");
        return;
    }
    json_object_foreach((json_t *)networks, name, with)
        add_compared(protocol, with, json_member(with, "network", "path"), name);
    if (!networks)
        add_compared(protocol, values, json_object_get(json_member(document, "job", "evaluate"), "features"), NULL);
    add_metrics(protocol, values);
}

static void add_versions(struct protocol *protocol, const json_t *document, const json_t *metrics) {
    const json_t *versions = json_object_get(document, "versions"), *set = json_object_get(metrics, "payload_sha256"),
                 *machines = json_object_get(document, "made_with"), *machine;
    struct text value = {0}, where = {0}, digest = {0}, change = {0};
    size_t i;
    text_add(&value, "qtaylor ");
    add_value(&value, json_object_get(versions, "qtaylor"));
    text_add(&value, " (commit ");
    add_value(&value, json_object_get(versions, "commit"));
    text_add(&value, "), ");
    add_value(&value, json_object_get(versions, "torch"));
    add_text(protocol, "versions", &value);
    json_array_foreach(machines, i, machine) {
        text_add(&where, i ? "; " : "");
        add_value(&where, machine);
    }
    add_text(protocol, "made with", &where);
    text_add(&digest, "%.*s", SHORT_DIGEST, json_is_string(set) ? json_string_value(set) : "");
    if (digest.length) about_all(&digest, metrics);
    add_text(protocol, "digest of the set", &digest);
    about_change(&change, metrics);
    add_text(protocol, "warning", &change);
}

/* A sweep has many protocols. */
static int refuse_sweep(const char *dir, struct error *err) {
    json_t *sweep = NULL;
    if (collect_read(&sweep, dir, ".", "sweep.json", SWEEP_FORMAT, err) != 0) return -1;
    const json_t *cell = json_array_get(json_object_get(sweep, "cells"), 0),
                 *name = json_object_get(json_is_null(json_object_get(cell, "same_as")) ? cell : NULL, "cell");
    int rc = sweep ? error_set(err, CODE_USAGE,
                               "--card: %s is a sweep, and each of its cells was made in another way: name one, as "
                               "%s/%s",
                               dir, dir, json_is_string(name) ? json_string_value(name) : "CELL")
                   : error_set(err, CODE_DATA, "%s is no run: it has no run.json", dir);
    json_decref(sweep);
    return rc;
}

int protocol_print(const char *dir, enum protocol_form form, struct text *out, struct error *err) {
    struct protocol protocol = {form, out};
    json_t *document = NULL, *metrics = NULL;
    int rc = collect_read(&document, dir, ".", "run.json", RUN_FORMAT, err);
    if (rc == 0 && !document) rc = refuse_sweep(dir, err);
    if (rc == 0) rc = collect_read(&metrics, dir, ".", "metrics.json", 0, err);
    if (rc == 0 && !metrics)
        rc = error_set(err, CODE_AGAIN, "%s has no metrics.json: it is not finished; run it again to continue", dir);
    if (rc == 0) rc = about_check_whole(document, metrics, dir, err);
    if (rc == 0) {
        begin(&protocol);
        add_network(&protocol, document);
        add_sampler(&protocol, document, metrics);
        add_samples(&protocol, document, metrics);
        add_evaluation(&protocol, document, metrics);
        add_versions(&protocol, document, metrics);
        end(&protocol);
        if (out->failed) rc = error_memory(err);
    }
    json_decref(document);
    json_decref(metrics);
    return rc;
}
