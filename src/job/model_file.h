/* A model's file: its bytes in one place, so that what is hashed and checked is what is loaded and used; and what a
 * file is that is none. */
#ifndef JOB_MODEL_FILE_H
#define JOB_MODEL_FILE_H

#include "base/error.h"
#include "base/hash.h"
#include "base/mapping.h"

#include <stddef.h>
#include <zip.h>

/* *file (new; mapping_close): of which every member's checksum is right, and the digest is `expected` (NULL: none
 * known, an error). */
int model_file_open(struct mapping **file, const char *path, const char *expected, struct error *err);
/* The digest of such a file. Cheap from the second time on. */
int model_file_digest(const char *path, char sha256[SHA256_HEX], struct error *err);

/* What a file is instead of a model and what to do about it, as "a state dict ...: export it with ...",
 * by its first bytes (16 tell), or for a zip archive by its members. NULL: nothing known. */
const char *model_file_kind(const char *start, size_t size);
const char *model_archive_kind(zip_t *archive);
/* The member that holds the metadata (JSON, names and texts) of an AOTInductor package (.pt2); -1: it is none. */
zip_int64_t model_package_metadata(zip_t *archive);

#endif
