/* A model file: a zip archive with an extra file, or JSON; and the card in it, up to its schedule. */
#include "fuzz.h"

#include "solver/schedule.h"

#include <jansson.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct card card;
    struct schedule *schedule;
    struct error err;
    json_t *features;
    const char *path = fuzz_file(data, size);
    if (card_read_extra(&features, path, "features.json", &err) == 0) json_decref(features);
    if (card_read(&card, path, &err) != 0) return 0;
    if (schedule_new(&schedule, &card, &err) == 0) schedule_free(schedule);
    card_release(&card);
    return 0;
}
