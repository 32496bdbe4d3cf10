/* A list of seeds: read, asked at both ends, and written again. */
#include "fuzz.h"

#include "job/seeds.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct seeds seeds, again;
    struct error err;
    char *text = fuzz_text(data, size);
    if (seeds_parse(&seeds, text, &err) == 0) {
        uint64_t last = seeds_at(&seeds, seeds.count - 1);
        char *canonical = seeds_text(&seeds);
        if (!canonical || seeds_parse(&again, canonical, &err) != 0 || again.count != seeds.count ||
            seeds_at(&again, 0) != seeds_at(&seeds, 0) || seeds_at(&again, again.count - 1) != last)
            abort();
        free(canonical);
        seeds_release(&again);
        seeds_release(&seeds);
    }
    free(text);
    return 0;
}
