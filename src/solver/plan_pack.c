/* A plan's JSON, compressed: what many runs at a time can be held as. */
#include "solver/plan.h"

#include "format/json_file.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

/* zstd's bytes as a JSON string: new, or NULL. */
static json_t *pack(const char *text, size_t length) {
    size_t bound = ZSTD_compressBound(length);
    char *bytes = malloc(bound);
    size_t size = bytes ? ZSTD_compress(bytes, bound, text, length, 1) : 0;
    unsigned char *base64 = bytes && !ZSTD_isError(size) ? malloc(4 * (size / 3) + 5) : NULL;
    if (base64) EVP_EncodeBlock(base64, (unsigned char *)bytes, (int)size);
    json_t *packed = base64 ? json_string((char *)base64) : NULL;
    free(base64);
    free(bytes);
    return packed;
}

/* Takes both over; glance: an object with what is told of the plan at a glance. */
static json_t *pack_text(json_t *glance, char *text) {
    char sha256[SHA256_HEX];
    size_t length = text ? strlen(text) : 0;
    if (text) {
        sha256_bytes(text, length, sha256);
        json_map_add(&glance, "sha256", json_string(sha256));
        json_map_add(&glance, "length", json_integer((json_int_t)length));
        json_map_add(&glance, "packed", pack(text, length));
    }
    free(text);
    if (length > 0) return glance;
    json_decref(glance);
    return NULL;
}

/* A plan that is JSON as the text that is packed, and hashed: new, or NULL. */
static char *text_of(const json_t *json) {
    return json_text(json, JSON_COMPACT | JSON_REAL_PRECISION(17) | JSON_ENCODE_ANY);
}

json_t *plan_pack(const struct plan *plan) {
    json_t *glance = plan->adaptive ? json_pack("{s:s, s:n, s:n, s:b}", "solver", plan->solver, "nfe", "model_calls",
                                                "adaptive", 1)
                                    : json_pack("{s:s, s:i, s:i}", "solver", plan->solver, "nfe", plan->nfe,
                                                "model_calls", plan->model_calls);
    return pack_text(glance, plan_text(plan));
}

json_t *plan_pack_json(const json_t *json) {
    if (plan_is_packed(json)) return json_incref((json_t *)json);
    return pack_text(json_pack("{s:O*, s:O*, s:O*, s:O*}", "solver", json_object_get(json, "solver"), "nfe",
                               json_object_get(json, "nfe"), "model_calls", json_object_get(json, "model_calls"),
                               "adaptive", json_object_get(json, "adaptive")),
                     text_of(json));
}

int plan_json_digest(const json_t *json, char sha256[SHA256_HEX], struct error *err) {
    char *text = text_of(json);
    if (text) sha256_bytes(text, strlen(text), sha256);
    free(text);
    return text ? 0 : error_memory(err);
}

bool plan_is_packed(const json_t *plan) {
    return json_is_string(json_object_get(plan, "packed"));
}

int plan_unpack(char **text, const json_t *plan, struct error *err) {
    const json_t *packed = json_object_get(plan, "packed");
    size_t base64 = json_string_length(packed), length = (size_t)json_integer_value(json_object_get(plan, "length"));
    char *bytes = malloc(base64 + 1);
    *text = malloc(length + 1);
    int size = bytes && *text ? EVP_DecodeBlock((unsigned char *)bytes,
                                                (const unsigned char *)json_string_value(packed), (int)base64)
                              : 0; /* the padding's zeros behind the frame belong to it */
    size_t frame = size > 0 ? ZSTD_findFrameCompressedSize(bytes, (size_t)size) : 0;
    bool whole = size > 0 && !ZSTD_isError(frame) && ZSTD_decompress(*text, length, bytes, frame) == length;
    free(bytes);
    if (whole) return (*text)[length] = '\0', 0;
    free(*text);
    *text = NULL;
    return size > 0 ? error_set(err, CODE_INTERNAL, "a plan that was packed cannot be unpacked") : error_memory(err);
}

int plan_check_seal(const json_t *plan, const json_t *seal, const char *where, struct error *err) {
    char sha256[SHA256_HEX];
    if (!seal || plan_is_packed(plan)) return 0;
    if (plan_json_digest(plan, sha256, err) != 0) return -1;
    if (json_is_string(seal) && strcmp(json_string_value(seal), sha256) == 0) return 0;
    return error_set(err, CODE_DATA,
                     "%s: its plan is not the one that the run began with (plan_sha256): the file was changed; put the "
                     "plan back, or choose another output.dir",
                     where);
}
