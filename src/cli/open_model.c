/* Opening a model's file for a command that calls its network itself: its card, and the network. */
#include "cli/command.h"
#include "config/override.h"
#include "job/card.h"
#include "job/model_file.h"
#include "sample/model.h"

int command_read_card(struct card *card, const char *model, const struct option_list *set, struct error *err) {
    json_t *over = json_object(), *places = json_object();
    int rc = over && places ? 0 : error_memory(err);
    for (size_t i = 0; rc == 0 && i < set->count; i++) rc = override_apply(over, places, set->items[i], "", err);
    struct key_reader reader = {.where = model, .places = places, .err = err};
    if (rc == 0) rc = card_check_part(&reader, "", over);
    if (rc == 0) rc = json_object_size(over) ? card_read_under(card, model, over, err) : card_read(card, model, err);
    json_decref(places);
    json_decref(over);
    return rc;
}

int command_load_model(struct shim_model **model, const char *path, enum device_kind kind, int *device,
                       struct error *err) {
    char message[SHIM_ERROR], sha256[SHA256_HEX];
    int chosen;
    *model = NULL;
    if (model_device(kind, 0, "--device", &chosen, err) != 0 || model_file_digest(path, sha256, err) != 0) return -1;
    if (device) *device = chosen;
    if (shim_start(0, message) != 0 || shim_thread_start(chosen, message) != 0)
        return error_set(err, CODE_INTERNAL, "%s", message);
    return model_load(model, "model", path, sha256, chosen, err);
}
