/* SHA-256 of bytes and of files. */
#include "base/hash.h"

#include "base/files.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

/* done: what the call that gave the digest returned. */
static void to_hex(int done, const unsigned char digest[32], char hex[SHA256_HEX]) {
    hex[0] = '\0';
    for (int i = 0; done == 1 && i < 32; i++) snprintf(hex + 2 * i, 3, "%02x", digest[i]);
}

void sha256_finish(struct sha256 *hash, char hex[SHA256_HEX]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    to_hex(EVP_DigestFinal_ex(context(hash), digest, NULL), digest, hex);
    EVP_MD_CTX_free(context(hash));
}

void sha256_bytes(const void *data, size_t size, char hex[SHA256_HEX]) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    to_hex(EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL), digest, hex);
}

uint64_t sha256_mark(const void *data, size_t size) {
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    uint64_t mark = 0;
    EVP_Digest(data, size, digest, NULL, EVP_sha256(), NULL);
    for (size_t i = 0; i < sizeof mark; i++) mark = mark << 8 | digest[i];
    return mark;
}

int sha256_file(const char *path, char hex[SHA256_HEX], struct error *err) {
    int fd = file_open(path, O_RDONLY, err);
    if (fd < 0) return -1;
    struct sha256 *hash = sha256_new();
    if (!hash) {
        close(fd);
        return error_memory(err);
    }
    char buffer[1 << 16];
    ssize_t got;
    while ((got = read(fd, buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR))
        if (got > 0) sha256_add(hash, buffer, (size_t)got);
    int failed = got < 0 ? errno : 0;
    close(fd);
    sha256_finish(hash, hex);
    return failed ? error_set(err, CODE_IO, "cannot read %s: %s", path, strerror(failed)) : 0;
}

int sha256_expect(const char *path, const char *found, const char *expected, struct error *err) {
    char host[256] = "";
    if (expected && strcmp(found, expected) == 0) return 0;
    gethostname(host, sizeof host - 1);
    return error_set(
        err, CODE_DATA,
        "%s is another file on %s than the run's: its sha256 is %.12s, expected %.12s: give every node the same file",
        path, host, found, expected ? expected : "(not recorded)");
}
