#include "eval/score.h"

#include "eval/frechet.h"
#include "eval/statistics.h"

#include <string.h>

/* Reads a reference that goes with the network. */
static int read_reference(struct statistics *reference, const struct network *network, const char *path,
                          struct error *err) {
    if (statistics_read(reference, path, err) != 0) return -1;
    if (reference->network[0] && strcmp(reference->network, network->sha256) != 0)
        return error_set(err, CODE_DATA, "%s was made with the feature network %.12s, the samples' features with %.12s "
                         "(sha256): use the same one for both", path, reference->network, network->sha256);
    if (reference->dim != network->dim)
        return error_set(err, CODE_DATA, "%s has %zu features a sample, the feature network gives %zu: use the same "
                         "one for both", path, reference->dim, network->dim);
    return 0;
}

int score_check(const struct network *network, const char *reference_path, struct error *err) {
    struct statistics reference = {0};
    int rc = read_reference(&reference, network, reference_path, err);
    statistics_free(&reference);
    return rc;
}

int score_fid(json_t **score, const struct moments *moments, const struct network *network, const char *reference_path,
              struct error *err) {
    struct statistics reference = {0}, samples = {0};
    char sha256[SHA256_HEX];
    double fid;
    int rc = -1;
    *score = NULL;
    if (statistics_from_moments(&samples, moments, err) != 0 || read_reference(&reference, network, reference_path, err) != 0 ||
        sha256_file(reference_path, sha256, err) != 0 || frechet_distance(&samples, &reference, &fid, err) != 0)
        goto out;
    json_t *count = reference.count > 0 ? json_integer((json_int_t)reference.count) : json_null();
    json_int_t samples_count = (json_int_t)moments->count, dim = (json_int_t)network->dim;
    *score = json_pack("{s:f, s:I, s:{s:s, s:o, s:s}, s:{s:s, s:I, s:s}}", "fid", fid, "samples", samples_count,
                       "reference", "path", reference_path, "count", count, "sha256", sha256, "network", "output",
                       network->output, "dim", dim, "sha256", network->sha256);
    rc = *score ? 0 : error_memory(err);
out:
    statistics_free(&samples);
    statistics_free(&reference);
    return rc;
}
