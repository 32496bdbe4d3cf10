#include "base/hash.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

/* struct sha256 is OpenSSL's context under our name. */
static EVP_MD_CTX *context(struct sha256 *hash) {
    return (EVP_MD_CTX *)hash;
}

struct sha256 *sha256_new(void) {
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (ctx && EVP_DigestInit_ex(ctx, EVP_sha256(), NULL) != 1) {
        EVP_MD_CTX_free(ctx);
        ctx = NULL;
    }
    return (struct sha256 *)ctx;
}

void sha256_add(struct sha256 *hash, const void *data, size_t size) {
    EVP_DigestUpdate(context(hash), data, size);
}

static void to_hex(const unsigned char digest[32], char hex[SHA256_HEX]) {
    for (int i = 0; i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

void sha256_finish(struct sha256 *hash, char hex[SHA256_HEX]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_DigestFinal_ex(context(hash), digest, NULL);
    EVP_MD_CTX_free(context(hash));
    to_hex(digest, hex);
}

void sha256_bytes(const void *data, size_t size, char hex[SHA256_HEX]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL);
    to_hex(digest, hex);
}

int sha256_file(const char *path, char hex[SHA256_HEX], struct error *err) {
    FILE *file = fopen(path, "rb");
    if (!file) return error_set(err, CODE_IO, "cannot open %s: %s", path, strerror(errno));
    struct sha256 *hash = sha256_new();
    if (!hash) {
        fclose(file);
        return error_memory(err);
    }
    char buffer[1 << 16];
    for (size_t got; (got = fread(buffer, 1, sizeof buffer, file)) > 0;) sha256_add(hash, buffer, got);
    int failed = ferror(file);
    fclose(file);
    sha256_finish(hash, hex);
    return failed ? error_set(err, CODE_IO, "cannot read %s: %s", path, strerror(errno)) : 0;
}
