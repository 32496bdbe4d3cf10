/* Digests of files, remembered by path, inode, size and times: in this process (a sweep asks for its model's once a
 * cell) and, for files of MEMORABLE bytes and more, from start to start as small files in
 * $XDG_CACHE_HOME/qtaylor/digests (~/.cache/qtaylor/digests where it is not set), which may be deleted at any time.
 * A file that was written to has another ctime, which nobody can set; one that was written to within the last three
 * seconds is not remembered, for it may be again within one tick of its clock. Thread-safe. */
#ifndef BASE_DIGESTS_H
#define BASE_DIGESTS_H

#include "base/error.h"
#include "base/hash.h"

enum { MEMORABLE = 1 << 20 };

struct digest {
    char key[SHA256_HEX]; /* the file as it is now: of its path, inode, size and times */
    char hex[SHA256_HEX]; /* its SHA-256; "": not known */
};

/* sha256_file (base/hash.h), remembered. */
int digest_file(const char *path, char hex[SHA256_HEX], struct error *err);
/* What is known of a file without reading it. CODE_IO. */
int digest_look(struct digest *digest, const char *path, struct error *err);
/* Remembers in this process what another one has found out. */
void digest_adopt(const struct digest *digest);

#endif
