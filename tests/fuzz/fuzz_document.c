/* A run.json: opened as evaluate, verify and a resumed run do, and its last shard described. */
#include "fuzz.h"

#include "format/json_file.h"
#include "run/run.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    json_t *document;
    struct run run;
    struct error err;
    if (json_file_read(&document, fuzz_file(data, size), &err) != 0 ||
        run_open(&run, document, "/nowhere", true, &err) != 0)
        return 0;
    shard_id last = {layout_shards(&run.layout) - 1};
    uint64_t rows = layout_rows(&run.layout, last);
    uint64_t *seeds = rows < 1000 ? calloc(rows, sizeof *seeds) : NULL;
    int64_t *labels = seeds ? calloc(rows, sizeof *labels) : NULL;
    if (labels) run_meta(&run, last, SAMPLES, seeds, labels);
    free(labels);
    free(seeds);
    run_close(&run);
    return 0;
}
