/* SHA-256 (OpenSSL's libcrypto). */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/error.h"

#include <stddef.h>

enum { SHA256_HEX = 65 }; /* 64 hex digits and a NUL */

struct sha256; /* an incremental hash */

struct sha256 *sha256_new(void); /* NULL when out of memory */
void sha256_add(struct sha256 *hash, const void *data, size_t size);
void sha256_finish(struct sha256 *hash, char hex[SHA256_HEX]); /* frees the hash */

void sha256_bytes(const void *data, size_t size, char hex[SHA256_HEX]);
int sha256_file(const char *path, char hex[SHA256_HEX], struct error *err);
/* Are the bytes that were read of a file those that are expected (NULL: nobody knows which)? If not, CODE_DATA names this
 * host. */
int sha256_expect(const char *path, const char *found, const char *expected, struct error *err);

#endif
