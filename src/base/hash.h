/* SHA-256 (OpenSSL's libcrypto), as 64 lower-case hex digits. Thread-safe; a struct sha256 belongs to one thread. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

enum { SHA256_HEX = 65 }; /* 64 hex digits and a NUL */

struct sha256; /* an incremental hash */

struct sha256 *sha256_new(void); /* NULL when out of memory */
void sha256_add(struct sha256 *hash, const void *data, size_t size);
void sha256_finish(struct sha256 *hash, char hex[SHA256_HEX]); /* frees the hash */

/* "" when out of memory: no file's digest, and not what anybody expects. */
void sha256_bytes(const void *data, size_t size, char hex[SHA256_HEX]);
uint64_t sha256_mark(const void *data, size_t size); /* its first 8 bytes; 0 when out of memory */
/* Of a regular file's bytes, which are read: base/digests.h remembers. CODE_IO. */
int sha256_file(const char *path, char hex[SHA256_HEX], struct error *err);
/* Is `found`, the digest of a file that was read, the expected one? If not, or where none is known (NULL), CODE_DATA
 * names the path and this host. */
int sha256_expect(const char *path, const char *found, const char *expected, struct error *err);

#endif
