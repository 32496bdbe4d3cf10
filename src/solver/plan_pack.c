/* A plan's JSON, compressed: what many runs at a time can be held as. */
#include "solver/plan.h"

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

json_t *plan_pack(const json_t *plan) {
    char *text = json_dumps(plan, JSON_COMPACT | JSON_REAL_PRECISION(17));
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
