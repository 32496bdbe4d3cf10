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

/* The text that is packed, and its digest: new, or NULL. */
static char *text_of(const json_t *plan, char sha256[SHA256_HEX]) {
    char *text = json_text(plan, JSON_COMPACT | JSON_REAL_PRECISION(17) | JSON_ENCODE_ANY);
    if (text) sha256_bytes(text, strlen(text), sha256);
    return text;
}

json_t *plan_pack(const json_t *plan, char sha256[SHA256_HEX]) {
    char *text = text_of(plan, sha256);
    size_t length = text ? strlen(text) : 0;
    json_t *packed = text ? json_pack("{s:O*, s:O*, s:O*, s:O*, s:I, s:o}", "solver", json_object_get(plan, "solver"),
                                      "nfe", json_object_get(plan, "nfe"), "model_calls",
                                      json_object_get(plan, "model_calls"), "adaptive",
                                      json_object_get(plan, "adaptive"), "length", (json_int_t)length, "packed",
                                      pack(text, length))
                          : NULL;
    free(text);
    return packed;
}

int plan_json_digest(const json_t *json, char sha256[SHA256_HEX], struct error *err) {
    char *text = text_of(json, sha256);
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
