/* What this program was built with and runs on. */
#include "cluster/build.h"

#include "base/hash.h"
#include "cluster/comm.h"
#include "torch_shim.h"
#include "version.h" /* made by the Makefile: QTAYLOR_VERSION, _DATE, _COMMIT, _CFLAGS */

#include <cblas.h>
#include <libfyaml.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>
#include <zip.h>
#include <zstd.h>

#ifdef __clang__
#define COMPILER __VERSION__ /* names itself */
#else
#define COMPILER "gcc " __VERSION__
#endif
/* _OPENMP is the date of the standard, 201511 for 4.5. */
#define TEXT_OF(number) #number
#define TEXT(number) TEXT_OF(number)

json_t *build_versions(void) {
    const struct {
        const char *name, *version;
    } parts[] = {
        {"qtaylor", QTAYLOR_VERSION},
        {"commit", QTAYLOR_COMMIT},
        {"compiler", COMPILER},
        {"cflags", QTAYLOR_CFLAGS},
        {"mpi", comm_describe()},
        {"torch", shim_describe()},
        {"openmp", TEXT(_OPENMP)},
        {"zstd", ZSTD_versionString()},
        {"blas", openblas_get_config()},
        {"jansson", jansson_version_str()},
        {"libfyaml", fy_library_version()},
        {"libzip", zip_libzip_version()},
        {"openssl", OpenSSL_version(OPENSSL_VERSION)},
    };
    json_t *versions = json_object();
    for (size_t i = 0; versions && i < sizeof parts / sizeof *parts; i++)
        if (json_object_set_new(versions, parts[i].name, json_string(parts[i].version)) != 0) {
            json_decref(versions);
            versions = NULL;
        }
    return versions;
}

void build_describe(char *text, size_t capacity) {
    static const char tools[] = COMPILER " " QTAYLOR_CFLAGS;
    char hex[SHA256_HEX];
    sha256_bytes(tools, sizeof tools, hex);
    /* Of "libtorch 2.13.0 (cpu AVX2)" without what is in parentheses, as processors of nodes may differ. */
    const char *shim = shim_describe(), *end = strstr(shim, " (");
    snprintf(text, capacity, "%s %s (%.*s; compiler and flags %.8s)", QTAYLOR_VERSION, QTAYLOR_COMMIT,
             (int)(end ? (size_t)(end - shim) : strlen(shim)), shim, hex);
}

const char *build_version(void) {
    return QTAYLOR_VERSION;
}

const char *build_date(void) {
    return QTAYLOR_DATE;
}

int build_check_format(const json_t *document, int format, const char *path, struct error *err) {
    const json_t *there = json_object_get(document, "format");
    if (json_is_integer(there) && json_integer_value(there) == format) return 0;
    const char *writer = json_string_value(json_object_get(json_object_get(document, "versions"), "qtaylor"));
    char found[32] = "none", by[64] = "";
    if (there) snprintf(found, sizeof found, "%lld", (long long)json_integer_value(there));
    if (writer) snprintf(by, sizeof by, ", written by qtaylor %.40s", writer);
    return error_set(
        err, CODE_DATA,
        "%s: format: expected %d, found %s%s; this is qtaylor %s: use the version that wrote it or a later "
        "one, or choose another output.dir",
        path, format, found, by, QTAYLOR_VERSION);
}
