/* Shard files on disk: what is written is read back, and every other content is noticed and named. */
#include "shard_files.h"

#include <sys/stat.h>

static void write_shard(const struct shard_meta *meta, const struct npy *npy, const void *rows,
                        struct shard_info *info) {
    struct error err;
    if (store_write(path, meta, npy, rows, 3, NULL, info, &err) != 0) fail_msg("%s", err.message);
}

/* The file's state; a bad one must say what is wrong and give nothing. */
static enum shard_state check(const struct shard_meta *meta, const struct npy *npy, const char *expected_why) {
    enum shard_state state;
    struct shard_info info;
    struct error why, err;
    void *rows;
    if (store_check(path, meta, npy, &state, &info, &rows, &why, &err) != 0) fail_msg("%s", err.message);
    if (expected_why && !strstr(why.message, expected_why))
        fail_msg("expected \"%s\" in: %s", expected_why, why.message);
    if (state == SHARD_GOOD) {
        assert_int_equal(strlen(info.sha256), 64);
        assert_non_null(rows);
    } else {
        assert_true(state == SHARD_MISSING || why.message[0]);
        assert_string_equal(info.sha256, "");
        assert_null(rows);
    }
    free(rows);
    return state;
}

static void files_make_the_round_trip(void **state) {
    (void)state;
    static float reals[ROWS * 12];
    for (size_t i = 0; i < ROWS * 12; i++) reals[i] = (float)i / 7 - 3;
    const struct {
        const struct shard_meta *meta;
        struct npy npy;
        const void *rows;
    } cases[] = {
        {&sample_meta, bytes_npy, bytes},
        {&sample_meta, {NPY_FLOAT32, 4, 4, {ROWS, 3, 2, 2}}, reals},
        {&feature_meta, {NPY_FLOAT32, 4, 2, {ROWS, 12}}, reals},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct shard_info info, found_info;
        struct npy npy;
        struct error err;
        struct stat stat_of;
        json_t *json;
        void *rows;
        char digest[SHA256_HEX];
        write_shard(cases[i].meta, &cases[i].npy, cases[i].rows, &info);
        assert_int_equal(check(cases[i].meta, &cases[i].npy, NULL), SHARD_GOOD);
        assert_int_equal(store_read(path, &npy, &rows, &json, &found_info, &err), 0);
        assert_memory_equal(&npy, &cases[i].npy, sizeof npy);
        assert_memory_equal(rows, cases[i].rows, npy_bytes(&npy));
        assert_int_equal(frames_digest(&npy, cases[i].rows, digest, &err), 0);
        assert_string_equal(info.sha256, digest);
        assert_string_equal(found_info.sha256, digest);
        assert_int_equal(stat(path, &stat_of), 0);
        assert_int_equal(info.file_bytes, stat_of.st_size);
        assert_int_equal(found_info.file_bytes, stat_of.st_size);
        assert_string_equal(json_string_value(json_object_get(json, "seeds")), "8-9,20,18446744073709551615,0");
        json_t *expected = json_pack("{si ss si ss ss}", "format", 1, "fingerprint", HEX, "shard", 12, "sha256", digest,
                                     "dtype", i == 0 ? "|u1" : "<f4");
        const char *key;
        json_t *value;
        json_object_foreach(expected, key, value) assert_true(json_equal(json_object_get(json, key), value));
        assert_int_equal(json_array_size(json_object_get(json, "shape")), npy.rank);
        assert_int_equal(json_array_size(json_object_get(json, "labels")), i < 2 ? ROWS : 0);
        if (i == 2) assert_string_equal(json_string_value(json_object_get(json, "network")), OTHER_HEX);
        json_decref(expected);
        json_decref(json);
        free(rows);
    }
}

static void same_input_same_bytes(void **state) {
    (void)state;
    struct shard_info info;
    struct error err;
    char *first, *second;
    size_t first_size, second_size;
    write_shard(&sample_meta, &bytes_npy, bytes, &info);
    assert_int_equal(file_read(path, &first, &first_size, &err), 0);
    write_shard(&sample_meta, &bytes_npy, bytes, &info);
    assert_int_equal(file_read(path, &second, &second_size, &err), 0);
    assert_int_equal(first_size, second_size);
    assert_memory_equal(first, second, first_size);
    free(first);
    free(second);
}

/* Every bit of the file, its JSON and seek table included; then every length; then more than there was. */
static void any_change_is_noticed(void **state) {
    (void)state;
    struct shard_info info;
    struct npy npy;
    struct error err;
    void *rows;
    char *file;
    size_t size;
    write_shard(&sample_meta, &bytes_npy, bytes, &info);
    assert_int_equal(file_read(path, &file, &size, &err), 0);
    for (size_t bit = 0; bit < 8 * size; bit++) {
        file[bit / 8] ^= (char)(1 << bit % 8);
        write_bytes(file, size);
        assert_int_equal(store_read(path, &npy, &rows, NULL, &info, &err), -1);
        assert_int_equal(err.code, CODE_DATA);
        assert_non_null(strstr(err.message, path));
        assert_null(rows);
        if (bit % 8 == bit / 8 % 8) assert_int_equal(check(&sample_meta, &bytes_npy, NULL), SHARD_DAMAGED);
        file[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t length = 0; length < size; length++) {
        write_bytes(file, length);
        assert_int_equal(check(&sample_meta, &bytes_npy, length == 0 ? "empty" : NULL), SHARD_DAMAGED);
    }
    char *longer = calloc(1, size + 300);
    assert_non_null(longer);
    for (size_t more = 1; more < 300; more += 7) {
        memcpy(longer, file, size);
        write_bytes(longer, size + more);
        assert_int_equal(check(&sample_meta, &bytes_npy, NULL), SHARD_DAMAGED);
        memset(longer, 0, more);
        memcpy(longer + more, file, size);
        write_bytes(longer, size + more);
        assert_int_equal(check(&sample_meta, &bytes_npy, NULL), SHARD_DAMAGED);
        memset(longer, 0, size + more);
    }
    write_bytes(file, size);
    assert_int_equal(check(&sample_meta, &bytes_npy, NULL), SHARD_GOOD);
    free(longer);
    free(file);
}

/* Whole files of something else. */
static void wrong_files_are_told_apart(void **state) {
    (void)state;
    const struct npy wide_npy = {NPY_UINT8, 1, 4, {ROWS, 4, 1, 1}}, real_npy = {NPY_FLOAT32, 4, 2, {ROWS, 1}};
    struct shard_meta swapped = sample_meta, grown = sample_meta, relabelled = sample_meta, other_job = sample_meta,
                      unlabelled = sample_meta, features = feature_meta, network = feature_meta, logits = feature_meta;
    swapped.id.value = 13;
    swapped.seeds = later_seeds;
    grown.seeds = later_seeds;
    relabelled.labels = other_labels;
    unlabelled.labels = NULL;
    memcpy(other_job.fingerprint, OTHER_HEX, SHA256_HEX);
    memcpy(network.network, HEX, SHA256_HEX);
    logits.output = "logits";
    const struct {
        const struct shard_meta *there, *wanted;
        const struct npy *npy;
        enum shard_state state;
        const char *why;
    } cases[] = {
        {&swapped, &sample_meta, &bytes_npy, SHARD_FOREIGN, "expected shard 12, found 13"},
        {&other_job, &sample_meta, &bytes_npy, SHARD_OTHERS, "expected fingerprint \"0123"},
        {&features, &sample_meta, &bytes_npy, SHARD_FOREIGN, "expected network nothing, found \"f123"},
        {&sample_meta, &features, &bytes_npy, SHARD_FOREIGN, "found nothing"},
        {&network, &features, &bytes_npy, SHARD_FOREIGN, "expected network"},
        {&logits, &features, &bytes_npy, SHARD_FOREIGN, "expected output \"pool\", found \"logits\""},
        {&grown, &sample_meta, &bytes_npy, SHARD_STALE, "seeds \"8-9,20,18446744073709551615,0\", found \"21-25\""},
        {&relabelled, &sample_meta, &bytes_npy, SHARD_STALE, "expected labels [0,-1,9,3,3], found [0,-1,9,3,4]"},
        {&unlabelled, &sample_meta, &bytes_npy, SHARD_STALE, "expected labels"},
        {&sample_meta, &sample_meta, &wide_npy, SHARD_DAMAGED, "expected shape [5,2,2,1], found [5,4,1,1]"},
        {&sample_meta, &sample_meta, &real_npy, SHARD_DAMAGED, "expected dtype \"|u1\", found \"<f4\""},
        {&sample_meta, &sample_meta, &bytes_npy, SHARD_GOOD, ""},
    };
    struct shard_info info;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_shard(cases[i].there, cases[i].npy, bytes, &info);
        assert_int_equal(check(cases[i].wanted, &bytes_npy, cases[i].why), cases[i].state);
    }
    assert_int_equal(unlink(path), 0);
    assert_int_equal(check(&sample_meta, &bytes_npy, ""), SHARD_MISSING);
    write_bytes("some text\n", 10);
    assert_int_equal(check(&sample_meta, &bytes_npy, "too short"), SHARD_DAMAGED);
    assert_int_equal(unlink(path), 0);

    enum shard_state found;
    struct error why, err;
    assert_int_equal(mkdir(path, 0777), 0); /* unreadable is not damaged: nothing may be written over it */
    assert_int_equal(store_check(path, &sample_meta, &bytes_npy, &found, &info, NULL, &why, &err), -1);
    assert_int_equal(err.code, CODE_IO);
    assert_int_equal(store_check(path, &sample_meta, &bytes_npy, &found, &info, NULL, NULL, &err), -1);
    assert_int_equal(rmdir(path), 0);
}

/* Whole, well-formed, sealed with the right check, but the JSON tells something that is not so. */
static void lies_are_noticed(void **state) {
    (void)state;
    struct error err;
    char digest[SHA256_HEX];
    assert_int_equal(frames_digest(&bytes_npy, bytes, digest, &err), 0);
    const struct {
        const char *sha256, *dtype;
        int height;
        const char *message;
    } cases[] = {
        {HEX, "|u1", 2, "sha256"},
        {digest, "<f4", 2, "describe different arrays"},
        {digest, "|u1", 3, "describe different arrays"},
        {digest, "|u1", 2, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *about = json_pack("{ss ss s[iiii]}", "sha256", cases[i].sha256, "dtype", cases[i].dtype, "shape", ROWS,
                                  cases[i].height, 2, 1);
        char *file;
        size_t size;
        struct npy npy;
        struct shard_info info;
        void *rows;
        assert_int_equal(frames_encode(&bytes_npy, bytes, about, 3, &file, &size, &err), 0);
        write_bytes(file, size);
        assert_int_equal(store_read(path, &npy, &rows, NULL, &info, &err), cases[i].message ? -1 : 0);
        if (cases[i].message && !strstr(err.message, cases[i].message)) fail_msg("%zu: %s", i, err.message);
        free(rows);
        free(file);
        json_decref(about);
    }
}

/* What was clipped stands in the file, where it was counted; what is 0 or 255 is seen in its rows. */
static void values_at_the_ends(void **state) {
    (void)state;
    static const float reals[ROWS * 12] = {255};
    const struct npy reals_npy = {NPY_FLOAT32, 4, 4, {ROWS, 3, 2, 2}};
    struct shard_meta counting = sample_meta;
    counting.counted = true;
    counting.clipped = 3;
    const struct {
        const struct shard_meta *written;
        struct npy npy;
        const void *rows;
        uint64_t saturated, clipped;
        bool counted;
    } cases[] = {{&sample_meta, bytes_npy, bytes, 4, 0, false},
                 {&counting, bytes_npy, bytes, 4, 3, true},
                 {&sample_meta, reals_npy, reals, 0, 0, false}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct shard_info infos[2];
        enum shard_state found;
        struct error why, err;
        write_shard(cases[i].written, &cases[i].npy, cases[i].rows, &infos[0]);
        assert_int_equal(store_check(path, &sample_meta, &cases[i].npy, &found, &infos[1], NULL, &why, &err), 0);
        assert_int_equal(found, SHARD_GOOD); /* whether it is counted or not makes no other file of it */
        for (int k = 0; k < 2; k++) {
            assert_int_equal(infos[k].saturated, cases[i].saturated);
            assert_int_equal(infos[k].clipped, cases[i].clipped);
            assert_int_equal(infos[k].counted, cases[i].counted);
        }
    }
}

/* The file's own labels are given; with any_labels they need not be known. */
static void labels_come_from_the_file(void **state) {
    (void)state;
    struct shard_info info;
    write_shard(&sample_meta, &bytes_npy, bytes, &info);
    for (int any = 0; any <= 1; any++) {
        struct shard_meta meta = sample_meta;
        enum shard_state judged;
        struct error why, err;
        int64_t found[ROWS];
        void *rows;
        meta.any_labels = any;
        meta.labels = any ? NULL : labels;
        assert_int_equal(store_load(path, &meta, &bytes_npy, &judged, &rows, found, &why, &err), 0);
        assert_int_equal(judged, SHARD_GOOD);
        assert_memory_equal(rows, bytes, sizeof bytes);
        assert_memory_equal(found, labels, sizeof labels);
        free(rows);
        meta.labels = NULL;
        meta.any_labels = false;
        assert_int_equal(store_load(path, &meta, &bytes_npy, &judged, &rows, NULL, &why, &err), 0);
        assert_int_equal(judged, SHARD_STALE);
        assert_null(rows);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SHARD_TEST(labels_come_from_the_file),  SHARD_TEST(files_make_the_round_trip),
        SHARD_TEST(same_input_same_bytes),      SHARD_TEST(any_change_is_noticed),
        SHARD_TEST(wrong_files_are_told_apart), SHARD_TEST(lies_are_noticed),
        SHARD_TEST(values_at_the_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
