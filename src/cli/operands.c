/* What a comparison is of, read once it is known to go together. */
#include "cli/operands.h"

#include "base/log.h"
#include "metric/clip_score.h"

#include <stdlib.h>
#include <string.h>

const char *const operand_names[OPERANDS] = {"A", "B", "A2", "V"};

struct network_sides operands_of(const struct operands *operands, size_t network) {
    struct network_sides sides;
    for (int which = 0; which < OPERANDS; which++)
        sides.of[which] = operands->paths[which] ? &operands->sides[which][network] : NULL;
    return sides;
}

struct score_options operands_score(const struct operands *operands, size_t network) {
    struct score_options options = operands->score;
    const struct side *text = &operands->texts[network];
    options.validation = operands_of(operands, network).of[OPERAND_V];
    options.text = text->views[0].features.rows ? text : NULL;
    options.text_rows = operands->text_rows;
    return options;
}

static void release(struct operands *operands, enum operand which) {
    for (size_t i = 0; i < operands->networks; i++) side_release(&operands->sides[which][i]);
    free(operands->seeds[which]);
    operands->seeds[which] = NULL;
}

void operands_release(struct operands *operands) {
    for (int which = 0; which < OPERANDS; which++) release(operands, (enum operand)which);
    for (size_t i = 0; i < operands->networks; i++) side_release(&operands->texts[i]);
    free(operands->text_rows);
}

static int read_one(struct operands *operands, enum operand which, const struct extraction *how, struct error *err) {
    uint64_t count = which == OPERAND_A || which == OPERAND_A2 ? operands->count : 0;
    const char *path = operands->paths[which];
    return path ? sides_read(operands->sides[which], &operands->seeds[which], path, how, count, err) : 0;
}

/* What was only foreseen; what was read stays. */
static int extract_one(struct operands *operands, enum operand which, struct error *err) {
    bool foreseen = false;
    for (size_t i = 0; i < operands->networks; i++) foreseen |= operands->sides[which][i].foreseen;
    if (!foreseen) return 0;
    release(operands, which);
    return read_one(operands, which, operands->how, err);
}

static int check_seeds(const struct operands *operands, struct error *err) {
    const char *one = operands->seeds[OPERAND_A], *other = operands->seeds[OPERAND_A2];
    const char *const *paths = operands->paths;
    if (!one || !other || strcmp(one, other) == 0) return 0;
    return side_say_first(&operands->sides[OPERAND_A][0].names, &operands->sides[OPERAND_A2][0].names,
                          error_set(err, CODE_DATA, "a paired difference needs the same seeds: %s has %s, %s has %s",
                                    paths[OPERAND_A], one, paths[OPERAND_A2], other),
                          err);
}

/* Puts A2 into the order of A; *by_name: they have the same names. */
static int pair(struct operands *operands, bool *by_name, struct error *err) {
    const char *const paths[] = {operands->paths[OPERAND_A], operands->paths[OPERAND_A2]};
    *by_name = true;
    for (size_t i = 0; i < operands->networks; i++) {
        bool one = false;
        if (side_pair(&operands->sides[OPERAND_A][i], &operands->sides[OPERAND_A2][i], paths, &one, err) != 0)
            return error_prefix(err, "--versus");
        *by_name &= one;
    }
    return 0;
}

static int agree_on_pairs(struct operands *operands, struct error *err) {
    const struct marks *one = &operands->sides[OPERAND_A][0].names, *other = &operands->sides[OPERAND_A2][0].names;
    bool by_name, runs = operands->seeds[OPERAND_A] && operands->seeds[OPERAND_A2];
    if (!operands->paths[OPERAND_A2]) return 0;
    if (check_seeds(operands, err) != 0 || pair(operands, &by_name, err) != 0) return -1;
    score_warn_unpaired(operands->score.metrics);
    operands->pairing = !by_name ? "position" : runs ? "seed" : "name";
    if (!by_name)
        log_warn("--versus: the samples of %s and %s are paired by position, for %s", operands->paths[OPERAND_A],
                 operands->paths[OPERAND_A2],
                 one->count && other->count ? "they have no names in common" : "not both have names");
    return 0;
}

/* Do the sides go together, and have what the metrics need? */
static int check(const struct operands *operands, const struct named_paths *named, struct error *err) {
    for (size_t i = 0; i < operands->networks; i++) {
        const struct network_sides sides = operands_of(operands, i);
        const struct score_options options = operands_score(operands, i);
        const struct side *a = sides.of[OPERAND_A], *a2 = sides.of[OPERAND_A2];
        int rc = score_check(&options, a, sides.of[OPERAND_B], err);
        if (rc == 0 && a2) rc = score_check_paired(options.metrics, a, a2, err);
        if (rc == 0 && options.text && score_wants(options.metrics, METRIC_CLIP_SCORE))
            rc = clip_score_check(a->views[FEATURES_POOL].features.count, options.text->views[0].features.count,
                                  options.text_rows, err);
        if (rc != 0) return named->count > 1 ? error_prefix(err, "%s", named->list[i].name) : -1;
    }
    return 0;
}

int operands_read(struct operands *operands, const struct named_paths *named, struct error *err) {
    struct extraction foresee = operands->how ? *operands->how : (struct extraction){.count = 1};
    int rc = 0;
    operands->networks = foresee.count;
    foresee.foresee = true;
    if (operands->text && (sides_read_texts(operands->texts, operands->text, named, err) != 0 ||
                           sides_text_rows(&operands->text_rows, operands->paths[OPERAND_A], err) != 0))
        return -1;
    for (int which = 0; rc == 0 && which < OPERANDS; which++)
        rc = read_one(operands, (enum operand)which, operands->how ? &foresee : NULL, err);
    if (rc == 0) rc = agree_on_pairs(operands, err);
    if (rc == 0) rc = check(operands, named, err);
    for (int which = 0; rc == 0 && which < OPERANDS; which++) rc = extract_one(operands, (enum operand)which, err);
    bool by_name;
    if (rc == 0 && operands->pairing) rc = pair(operands, &by_name, err); /* those that were foreseen */
    const struct side *const three[] = {operands->sides[OPERAND_A], operands->sides[OPERAND_B],
                                        operands->sides[OPERAND_V]};
    const char *const paths[] = {operands->paths[OPERAND_A], operands->paths[OPERAND_B], operands->paths[OPERAND_V]};
    return rc == 0 ? sides_warn_shared(three, operands->networks, paths, err) : -1;
}
