/* What a comparison is of, read once it is known to go together. */
#include "cli/operands.h"

#include "base/log.h"

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
    return options;
}

static void release(struct operands *operands, enum operand which) {
    for (size_t i = 0; i < operands->networks; i++) side_release(&operands->sides[which][i]);
}

void operands_release(struct operands *operands) {
    for (int which = 0; which < OPERANDS; which++) release(operands, (enum operand)which);
    for (size_t i = 0; i < operands->networks; i++) side_release(&operands->texts[i]);
}

static int read_one(struct operands *operands, enum operand which, const struct extraction *how, struct error *err) {
    uint64_t count = which == OPERAND_A || which == OPERAND_A2 ? operands->count : 0;
    const char *path = operands->paths[which];
    return path ? sides_read(operands->sides[which], &operands->runs[which], path, how, count, err) : 0;
}

/* What was only foreseen; what was read stays. */
static int extract_one(struct operands *operands, enum operand which, struct error *err) {
    bool foreseen = false;
    for (size_t i = 0; i < operands->networks; i++) foreseen |= operands->sides[which][i].foreseen;
    if (!foreseen) return 0;
    release(operands, which);
    return read_one(operands, which, operands->how, err);
}

/* Puts A2 into the order of A; *position: of which network they have no names in common, and are paired as they stand;
 * that network's number, or how many there are. */
static int pair(struct operands *operands, size_t *position, struct error *err) {
    const char *const paths[] = {operands->paths[OPERAND_A], operands->paths[OPERAND_A2]};
    *position = operands->networks;
    for (size_t i = 0; i < operands->networks; i++) {
        const struct side *a = &operands->sides[OPERAND_A][i];
        bool by_name = false;
        if (side_pair(a, &operands->sides[OPERAND_A2][i], paths, &by_name, err) != 0)
            return error_prefix(err, "--versus");
        if (!by_name && *position == operands->networks) *position = i;
    }
    return 0;
}

static int agree_on_pairs(struct operands *operands, struct error *err) {
    const char *a = operands->paths[OPERAND_A], *a2 = operands->paths[OPERAND_A2];
    bool runs = operands->runs[OPERAND_A] && operands->runs[OPERAND_A2];
    size_t i;
    if (!a2) return 0;
    if (pair(operands, &i, err) != 0) return -1;
    bool named = i == operands->networks;
    if (runs && !named)
        return error_set(err, CODE_DATA, "a paired difference needs the same seeds: %s and %s have none in common", a,
                         a2);
    const struct marks *one = &operands->sides[OPERAND_A][named ? 0 : i].names,
                       *other = &operands->sides[OPERAND_A2][named ? 0 : i].names;
    score_warn_unpaired(operands->score.metrics);
    operands->pairing = !named ? "position" : runs ? "seed" : "name";
    if (!named)
        log_warn("--versus: the samples of %s and %s are paired by position, for %s", a, a2,
                 !one->count || !other->count ? "not both have names"
                 : marks_equal(one, other)    ? "some names are there twice"
                                              : "they have no names in common");
    return 0;
}

/* Of a text for each image of a set whose first `count` are taken, the first so many. */
static void cut_texts(struct operands *operands) {
    for (size_t i = 0; i < operands->networks; i++) {
        struct features *texts = &operands->texts[i].views[0].features;
        bool places = !operands->sides[OPERAND_A][i].text_rows;
        if (operands->count > 0 && places && texts->count > operands->count) texts->count = (size_t)operands->count;
    }
}

/* Do the sides go together, and have what the metrics need? A2 as well as A. */
static int check_network(const struct operands *operands, size_t network, struct error *err) {
    const struct network_sides sides = operands_of(operands, network);
    struct score_options options = operands_score(operands, network);
    const struct features *texts = options.text ? &options.text->views[0].features : NULL;
    for (int which = OPERAND_A; which <= OPERAND_A2; which += OPERAND_A2 - OPERAND_A) {
        const struct side *side = sides.of[which];
        if (!side) continue;
        int rc = which == OPERAND_A2 ? score_check_paired(options.metrics, sides.of[OPERAND_A], side, err) : 0;
        if (which == OPERAND_A2) options.metrics &= score_of_pairs();
        if (rc == 0) rc = score_check(&options, side, sides.of[OPERAND_B], err);
        bool scored = texts && score_wants(options.metrics, METRIC_CLIP_SCORE);
        if (rc == 0 && scored && side->text_rows && side->texts != texts->count)
            rc = error_set(err, CODE_DATA, "clip-score: the conditions of %s have %llu rows, and there are %zu texts",
                           operands->paths[which], (unsigned long long)side->texts, texts->count);
        if (rc != 0) return which == OPERAND_A2 ? error_prefix(err, "%s", operands->paths[which]) : -1;
    }
    return 0;
}

static int check(const struct operands *operands, const struct named_paths *named, struct error *err) {
    for (size_t i = 0; i < operands->networks; i++)
        if (check_network(operands, i, err) != 0)
            return named->count > 1 ? error_prefix(err, "%s", named->list[i].name) : -1;
    return 0;
}

/* What went through several networks at once has its marks at one of the sides. */
static const struct side *with_pixels(const struct operands *operands, int which, size_t network) {
    const struct side *sides = operands->sides[which];
    if (sides[network].pixels.count) return &sides[network];
    for (size_t i = 0; i < operands->networks; i++)
        if (sides[i].pixels.count) return &sides[i];
    return sides;
}

/* Images in two sets are told of; A and A2 may share all. */
static int warn_shared(const struct operands *operands, struct error *err) {
    for (int one = 0; one < OPERANDS; one++)
        for (int other = one + 1; other < OPERANDS; other++)
            for (size_t i = 0; i < operands->networks; i++) {
                const char *const paths[] = {operands->paths[one], operands->paths[other]};
                const struct side *a = with_pixels(operands, one, i), *b = with_pixels(operands, other, i);
                bool own = a == &operands->sides[one][i] || b == &operands->sides[other][i];
                if (!own || (one == OPERAND_A && other == OPERAND_A2)) continue; /* the same as of another network */
                if (side_warn_shared(a, b, paths, err) != 0) return -1;
            }
    return 0;
}

int operands_read(struct operands *operands, const struct named_paths *named, struct error *err) {
    struct extraction foresee = operands->how ? *operands->how : (struct extraction){.count = 1};
    int rc = 0;
    operands->networks = foresee.count;
    foresee.foresee = true;
    if (operands->text && sides_read_texts(operands->texts, operands->text, named, err) != 0) return -1;
    for (int which = 0; rc == 0 && which < OPERANDS; which++)
        rc = read_one(operands, (enum operand)which, operands->how ? &foresee : NULL, err);
    if (rc == 0) cut_texts(operands);
    if (rc == 0) rc = agree_on_pairs(operands, err);
    if (rc == 0) rc = check(operands, named, err);
    for (int which = 0; rc == 0 && which < OPERANDS; which++) rc = extract_one(operands, (enum operand)which, err);
    size_t position;
    if (rc == 0 && operands->pairing) rc = pair(operands, &position, err); /* those that were foreseen */
    return rc == 0 ? warn_shared(operands, err) : -1;
}
