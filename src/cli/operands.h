/* What a comparison is of: samples A, their reference B, A2 whose difference from A is wanted, a validation set V, and
 * texts. Whether they go together is said before images go through a network. Not collective. */
#ifndef CLI_OPERANDS_H
#define CLI_OPERANDS_H

#include "cli/sides.h"

enum operand { OPERAND_A, OPERAND_B, OPERAND_A2, OPERAND_V, OPERANDS };
extern const char *const operand_names[OPERANDS]; /* "A", ... */

struct operands {
    const char *paths[OPERANDS], *text; /* NULL: not given */
    uint64_t count;                     /* only the first so many of A and A2; 0: all */
    const struct extraction *how;       /* NULL: no networks */
    struct score_options score;         /* without what operands_score adds */
    /* Of operands_read. */
    size_t networks; /* at least 1 */
    struct side sides[OPERANDS][EVALUATED_MOST], texts[EVALUATED_MOST];
    bool runs[OPERANDS]; /* it is one */
    const char *pairing; /* of A2 with A: "seed", "name", "position"; NULL: no A2 */
};

/* Reads all that is given; borrows paths, how and score. named: the networks as the command line names them. After a
 * failure too: operands_release. CODE_DATA: the sides do not go together, or lack what the metrics need. */
int operands_read(struct operands *operands, const struct named_paths *named, struct error *err);
void operands_release(struct operands *operands);

/* Those of a network: NULL where there is no such operand. Borrowed. */
struct network_sides {
    const struct side *of[OPERANDS];
};
struct network_sides operands_of(const struct operands *operands, size_t network);
struct score_options operands_score(const struct operands *operands, size_t network);

#endif
