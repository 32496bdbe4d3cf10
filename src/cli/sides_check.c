/* Options of a comparison that none of its sides or metrics has a use for. */
#include "cli/sides.h"

#include "base/files.h"
#include "base/text.h"
#include "eval/side_read.h"
#include "metric/score.h"

#include <stdlib.h>
#include <string.h>

struct uses {
    bool network, floats, files;
};

/* What a file or run has a use for. */
static int look_at(struct uses *uses, const char *path, struct error *err) {
    struct side_contents contents;
    char *document = text_new("%s/run.json", path);
    bool run = false;
    int rc = document ? file_exists(document, &run, err) : error_memory(err);
    free(document);
    if (rc != 0) return -1;
    uses->network |= run;
    if (run) return 0;
    if (side_look(&contents, path, err) != 0) return -1;
    uses->network |= contents.images;
    uses->floats |= contents.floats;
    uses->files |= contents.files;
    return 0;
}

/* The same of an operand, which may be "NAME=FILE,NAME=FILE". */
static int look_at_all(struct uses *uses, const char *operand, size_t networks, struct error *err) {
    bool there = true;
    if (networks > 1 && strchr(operand, '=') && file_exists(operand, &there, err) != 0) return -1;
    if (there) return look_at(uses, operand, err);
    int rc = 0;
    for (const char *item = operand; rc == 0 && item; item = strchr(item, ',') ? strchr(item, ',') + 1 : NULL) {
        const char *equals = strchr(item, '='), *path = equals ? equals + 1 : item;
        char *file = strndup(path, strcspn(path, ","));
        bool any = false;
        rc = file ? file_exists(file, &any, err) : error_memory(err);
        if (rc == 0 && any) rc = look_at(uses, file, err); /* sides_read says which is not there */
        free(file);
    }
    return rc;
}

static int check_metrics(unsigned metrics, const struct sides_given *given, struct error *err) {
    const struct {
        bool given;
        const char *option, *names;
        unsigned metrics;
    } of[] = {{given->indices, "--kid-indices", "kid", 1u << METRIC_KID},
              {given->validation, "--validation", "fld or fdr", 1u << METRIC_FLD | 1u << METRIC_FDR},
              {given->text, "--text", "clip-score", 1u << METRIC_CLIP_SCORE},
              {given->versus, "--versus", "fid, sfid, kid, cmmd, mind, fdr or clip-score", score_of_pairs()}};
    for (size_t i = 0; i < sizeof of / sizeof *of; i++)
        if (of[i].given && !(metrics & of[i].metrics))
            return error_set(err, CODE_USAGE, "%s is of use for %s alone: name it under --metrics, or leave it out",
                             of[i].option, of[i].names);
    return 0;
}

int sides_check(const char *const *operands, size_t count, const struct named_paths *networks, unsigned metrics,
                const struct sides_given *given, struct error *err) {
    struct uses uses = {.network = false};
    if (check_metrics(metrics, given, err) != 0) return -1;
    if (!given->features && !given->range && !given->order && !given->device) return 0;
    for (size_t i = 0; i < count; i++)
        if (operands[i] && look_at_all(&uses, operands[i], networks->count, err) != 0) return -1;
    if (given->features && !uses.network && networks->count < 2) /* of several, NAME=FILE needs the names */
        return error_set(err, CODE_USAGE,
                         "--features: there are features or statistics on every side already, and nothing goes "
                         "through a network: leave it out");
    if (given->device && !(uses.network && networks->count > 0))
        return error_set(err, CODE_USAGE, "--device: nothing goes through a network: leave it out");
    if (given->range && !uses.floats)
        return error_set(err, CODE_USAGE,
                         "--range is of arrays of float32 numbers, and no side is one (uint8 images have the range "
                         "0,255, a run that of its model's card): leave it out");
    if (given->order && !uses.files)
        return error_set(err, CODE_USAGE,
                         "--order is of folders and zips of image files, and no side is one: leave "
                         "it out");
    return 0;
}
