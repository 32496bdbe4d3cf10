/* The seal of a result. */
#include "metric/seal.h"

#include "base/hash.h"
#include "format/json_file.h"

#include <stdlib.h>
#include <string.h>

static bool digest_metrics(const json_t *result, char sha256[SHA256_HEX]) {
    char *text = json_text(json_object_get(result, "metrics"),
                           JSON_ENCODE_ANY | JSON_SORT_KEYS | JSON_COMPACT | JSON_REAL_PRECISION(17));
    if (text) sha256_bytes(text, strlen(text), sha256);
    free(text);
    return text != NULL;
}

int result_seal(json_t *result, struct error *err) {
    char sha256[SHA256_HEX];
    return digest_metrics(result, sha256) && json_object_set_new(result, RESULT_SEAL, json_string(sha256)) == 0
               ? 0
               : error_memory(err);
}

bool result_is_sealed(const json_t *result) {
    char sha256[SHA256_HEX];
    const char *sealed = json_string_value(json_object_get(result, RESULT_SEAL));
    return sealed && digest_metrics(result, sha256) && strcmp(sealed, sha256) == 0;
}

bool result_is_changed(const json_t *result) {
    return json_object_get(result, RESULT_SEAL) && !result_is_sealed(result);
}
