/* The folder of shards: commits leave no other file, what does not belong is listed, manifest and digest of them all.
 */
#include "shard_files.h"

#include <dirent.h>

static void commits_leave_nothing_else(void **state) {
    (void)state;
    struct shard_info info;
    struct error err;
    char *nested = store_path(run, "", NULL, (shard_id){12}), *listed = text_new("%s/samples", run);
    assert_int_equal(store_write(nested, &sample_meta, &bytes_npy, bytes, 3, NULL, &info, &err),
                     -1); /* the folder has vanished */
    assert_int_equal(err.code, CODE_IO);
    assert_false(access(listed, F_OK) == 0);
    assert_int_equal(folder_make(listed, &err), 0);
    assert_int_equal(store_write(nested, &sample_meta, &bytes_npy, bytes, 3, NULL, &info, &err), 0);
    struct dirent **entries;
    int found = scandir(listed, &entries, NULL, alphasort);
    assert_int_equal(found, 3);
    assert_string_equal(entries[2]->d_name, "000012.npy.zst");
    while (found > 0) free(entries[--found]);
    free(entries);
    free(listed);
    free(nested);
    char *blocked = text_new("%s/x/000000.npy.zst", path); /* below a file */
    write_bytes("", 0);
    assert_int_equal(store_write(blocked, &sample_meta, &bytes_npy, bytes, 3, NULL, &info, &err), -1);
    assert_int_equal(err.code, CODE_IO);
    free(blocked);
}

static void paths_and_strangers(void **state) {
    (void)state;
    char *feature_path = store_path("runs/x", HEX, "pool", (shard_id){1234567});
    assert_string_equal(feature_path, "runs/x/features/0123456789ab/pool/1234567.npy.zst");
    free(feature_path);
    struct text names = {0};
    size_t count = 0;
    struct error err;
    assert_int_equal(store_strangers("/tmp/there/is/none", "", NULL, 3, &names, &count, &err), 0);
    assert_int_equal(count, 0);
    static const char *const files[] = {"000000.npy.zst",
                                        "000002.npy.zst",               /* these belong */
                                        ".000001.npy.zst.tmp-host-1-0", /* hidden: on its way */
                                        "000003.npy.zst",
                                        "0000002.npy.zst",
                                        "2.npy.zst",
                                        "000001.npy",
                                        "-00001.npy.zst",
                                        "notes.txt",
                                        "000001.npy.zst.bak"};
    char *listed = text_new("%s/samples", run);
    assert_int_equal(folder_make(listed, &err), 0);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        char *name = text_new("%s/%s", listed, files[i]);
        FILE *file = fopen(name, "w");
        assert_non_null(file);
        fclose(file);
        free(name);
    }
    assert_int_equal(store_strangers(run, "", NULL, 3, &names, &count, &err), 0);
    assert_int_equal(count, 7);
    int lines = 0;
    for (const char *at = names.data; (at = strchr(at, '\n')); at++) lines++;
    assert_int_equal(lines, 7);
    assert_null(strstr(names.data, "/000000.npy.zst"));
    assert_null(strstr(names.data, "/000002.npy.zst"));
    assert_null(strstr(names.data, ".tmp-"));
    for (size_t i = 3; i < sizeof files / sizeof *files; i++) {
        char *line = text_new("%s/%s\n", listed, files[i]);
        assert_non_null(strstr(names.data, line));
        free(line);
    }
    text_release(&names);
    free(listed);
}

static void manifest_and_digest(void **state) {
    (void)state;
    struct shard_meta metas[3] = {sample_meta, sample_meta, sample_meta};
    struct shard_info infos[3] = {{HEX, .file_bytes = 100}, {"", .file_bytes = 0}, {OTHER_HEX, .file_bytes = 300}};
    struct error err;
    char *data, *text = text_new("%s/manifest.jsonl", run), digest[SHA256_HEX], expected[SHA256_HEX];
    size_t size;
    metas[2].id.value = 14;
    metas[2].seeds = later_seeds;
    assert_int_equal(folder_make(run, &err), 0);
    assert_int_equal(store_manifest(run, metas, infos, 3, NULL, &err), 0);
    assert_int_equal(file_read(text, &data, &size, &err), 0);
    static const struct {
        int id;
        const char *seeds, *sha256;
        int bytes;
    } records[] = {{12, "8-9,20,18446744073709551615,0", HEX, 100}, {14, "21-25", OTHER_HEX, 300}};
    char *rest = data;
    for (size_t i = 0; i < 2; i++) {
        json_t *record = json_loads(strsep(&rest, "\n"), 0, NULL);
        json_t *wanted = json_pack("{si ss si ss si}", "id", records[i].id, "seeds", records[i].seeds, "rows", ROWS,
                                   "sha256", records[i].sha256, "bytes", records[i].bytes);
        assert_true(json_equal(record, wanted));
        json_decref(wanted);
        json_decref(record);
    }
    assert_string_equal(rest, "");
    free(data);
    assert_int_equal(store_manifest(run, metas, infos, 0, NULL, &err), 0); /* rewritten whole */
    assert_int_equal(file_read(text, &data, &size, &err), 0);
    assert_int_equal(size, 0);
    free(data);
    free(text);
    store_payload_digest(infos, 3, digest);
    sha256_bytes(HEX OTHER_HEX, 128, expected);
    assert_string_equal(digest, expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        SHARD_TEST(commits_leave_nothing_else),
        SHARD_TEST(paths_and_strangers),
        SHARD_TEST(manifest_and_digest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
