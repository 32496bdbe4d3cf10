/* Images out of folders, zip archives and sample npz files that are written here with spng and libzip. */
#include "format/npz.h"
#include "pictures.h"

static void folders_are_read_in_order(void **state) {
    (void)state;
    for (int channels = 1; channels <= 3; channels += 2) { /* written in another order than read */
        const char *const flat[] = {"000002.PNG", "10.png", "B.png", "a.Png", "a b.png"};
        const size_t place[] = {0, 1, 2, 4, 3};
        for (size_t i = 0; i < 5; i++) {
            char *name = text_new("flat%d/%s", channels, flat[i]);
            put_picture(name, place[i], channels);
            free(name);
        }
    }
    assert_images("flat1", 5, 1);
    assert_images("flat3", 5, 3);
    assert_images("flat3/", 5, 3);
    assert_images("flat3//", 5, 3);
    put_picture("tree/000001/img00001000.png", 3, 3); /* EDM's */
    put_picture("tree/000000/img00000001.png", 1, 3);
    put_picture("tree/000000/img00000000.png", 0, 3);
    put_picture("tree/000000/img00000999.png", 2, 3);
    put_picture("tree/last.png", 4, 3);
    assert_images("tree", 5, 3);
}

static void what_is_no_image_is_left_out(void **state) {
    (void)state;
    static const char *const others[] = {"dataset.json", ".hidden.png",  ".hidden.jpg",    "0/.hidden.png", "png",
                                         "a.png.txt",    ".cache/a.png", "0/.cache/a.png", "x.png/notes"};
    put_picture("folder/0/one.png", 0, 1);
    put_picture("folder/x.png/two.png", 1, 1);
    zip_t *zip = zip_new("images.zip");
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char *name = text_new("folder/%s", others[i]);
        put(name, "no image", 8);
        free(name);
        zip_put(zip, others[i], text("no image"), false);
    }
    zip_put(zip, "x.png/two.png", picture(1, 1), false);
    zip_put(zip, "0/one.png", picture(0, 1), true);
    zip_put(zip, "__MACOSX/0/._one.png", text("no image"), false);
    assert_true(zip_dir_add(zip, "0", 0) >= 0);
    assert_int_equal(zip_close(zip), 0);
    assert_images("images.zip", 2, 1);
}

/* The names in their order. */
static void assert_order(struct image_names *names, const char *const *expected, size_t count) {
    struct error err;
    assert_int_equal(image_names_settle(names, "here", "", IMAGES_NATURAL, &err), 0);
    assert_int_equal(names->count, count);
    for (size_t i = 0; i < count; i++) assert_string_equal(names->list[i].name, expected[i]);
}

static void numbers_in_names_are_numbers(void **state) {
    (void)state;
    static const char *const names[] = {"0.png",
                                        "2.png",
                                        "10.png",
                                        "a1b2.png",
                                        "a1b10.png",
                                        "a02b1.png",
                                        "c/9.png",
                                        "c/0010.png",
                                        "c/11.png",
                                        "x99999999999999999999998.png",
                                        "x99999999999999999999999.png"};
    enum { COUNT = sizeof names / sizeof *names };
    struct image_names plain = {0}, padded = {0}, fewer = {0};
    struct error err;
    uint64_t marks[3][200] = {{0}};
    for (size_t i = 0; i < COUNT; i++) assert_int_equal(image_names_add(&plain, names[i * 5 % COUNT], i, &err), 0);
    assert_order(&plain, names, COUNT);
    image_names_release(&plain);
    for (int i = 199; i >= 0; i--) {
        char *a = text_new("%d.png", i), *b = text_new("%03d/%06d.PNG", i / 100, i);
        assert_int_equal(image_names_add(&plain, a, 0, &err), 0);
        assert_int_equal(image_names_add(&padded, b, 0, &err), 0);
        if (i > 0) assert_int_equal(image_names_add(&fewer, a, 0, &err), 0);
        free(a);
        free(b);
    }
    struct image_names *const all[] = {&plain, &padded, &fewer};
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(image_names_settle(all[i], "here", "", IMAGES_NATURAL, &err), 0);
        assert_int_equal(image_names_mark(all[i], marks[i], &err), 0);
        image_names_release(all[i]);
    }
    assert_memory_equal(marks[0], marks[1], sizeof marks[0]);
    assert_memory_not_equal(marks[0], marks[2], sizeof marks[0]);
    assert_true(marks[0][123] == sha256_mark("123", 3));
}

/* What is right: N images beside M that can't be read are no set of N. */
static void other_formats_beside_images_are_refused(void **state) {
    (void)state;
    static const char *const others[] = {"a.gif", "b.GIF", "0/c.webp", "d.tiff"};
    for (int in_zip = 0; in_zip <= 1; in_zip++) {
        zip_t *zip = in_zip ? zip_new("images.zip") : NULL;
        for (size_t i = 0; i < 4; i++) {
            char *name = text_new("folder/%s", others[i]);
            if (zip) zip_put(zip, others[i], text("no image"), false);
            else put(name, "no image", 8);
            free(name);
        }
        if (zip) zip_put(zip, "0.png", picture(0, 1), false);
        else put_picture("folder/0.png", 0, 1);
        if (zip) assert_int_equal(zip_close(zip), 0);
        assert_refused(zip ? "images.zip" : "folder", CODE_DATA, "found 1 PNG, 1 WebP, 2 GIF, 1 TIFF files",
                       "PNG, JPEG and WebP images alone");
    }
}

static void link_new(const char *to, const char *name) {
    char *path = inside(name);
    assert_int_equal(symlink(to, path), 0);
    free(path);
}

static void links_are_followed(void **state) {
    (void)state;
    put_picture("elsewhere/0.png", 0, 3);
    put_picture("elsewhere/deeper/1.png", 1, 3);
    put_picture("folder/2.png", 2, 3);
    link_new("../elsewhere/0.png", "folder/0.png");
    link_new("../elsewhere/deeper", "folder/1");
    link_new("folder", "link");
    assert_images("folder", 3, 3);
    assert_images("link", 3, 3);
    link_new("../nowhere.txt", "folder/3.txt");
    assert_images("folder", 3, 3);
    link_new("../nowhere.png", "folder/3.png");
    assert_refused("folder", CODE_IO, "folder/3.png", "a link to a file that is not there");
    link_new("..", "elsewhere/deeper/up");
    assert_refused("elsewhere", CODE_IO, "elsewhere/deeper/up", "a link to a folder that it is in");
}

static void zips_are_read_in_order(void **state) {
    (void)state;
    for (int deflated = 0; deflated <= 1; deflated++)
        for (int channels = 1; channels <= 3; channels += 2) {
            zip_t *zip = zip_new("images.zip");
            zip_put(zip, "00001/img00001000.png", picture(3, channels), deflated);
            zip_put(zip, "00000/img00000001.PNG", picture(1, channels), deflated);
            zip_put(zip, "dataset.json", text("{\"labels\": null}"), deflated);
            zip_put(zip, "00000/img00000999.png", picture(2, channels), deflated);
            zip_put(zip, "./a.png", picture(0, channels), deflated); /* as `zip -r images.zip .` names them */
            assert_int_equal(zip_close(zip), 0);
            assert_images("images.zip", 4, channels);
        }
}

static void samples_are_read(void **state) {
    (void)state;
    for (int deflated = 0; deflated <= 1; deflated++)
        for (size_t channels = 1; channels <= 3; channels += 2) {
            npz_new("samples.npz", "arr_0.npy", (struct npy){NPY_UINT8, 1, 4, {6, H, W, channels}}, deflated, 0);
            assert_images("samples.npz", 6, (int)channels);
        }
    /* More than the header is looked for in, and than libzip holds at once. */
    enum { LONG = 3000 };
    for (int deflated = 0; deflated <= 1; deflated++)
        for (size_t piece = 1; piece <= LONG; piece = 7 * piece + 1) {
            npz_new("long.npz", "arr_0.npy", (struct npy){NPY_UINT8, 1, 4, {LONG, H, W, 3}}, deflated, 0);
            struct error err;
            size_t count;
            int shape[3];
            uint8_t *pixels;
            assert_int_equal(read_all("long.npz", piece, &count, shape, &pixels, &err), CODE_OK);
            assert_int_equal(count, LONG);
            for (size_t i = 0; i < LONG * MOST; i++)
                if (pixels[i] != pixel(i / MOST, i % MOST)) fail_msg("piece %zu: byte %zu differs", piece, i);
            free(pixels);
        }
}

/* Where the first member's data begin and end in the archive, by the format's description. */
static void first_member(const struct bytes *file, size_t *begin, size_t *end) {
    const unsigned char *u = (const unsigned char *)file->data;
    assert_memory_equal(file->data, "PK\3\4", 4);
    size_t compressed = u[18] | (size_t)u[19] << 8 | (size_t)u[20] << 16;
    *begin = 30 + (u[26] | (size_t)u[27] << 8) + (u[28] | (size_t)u[29] << 8);
    *end = *begin + compressed;
    assert_true(compressed > 50 && *end < file->size);
}

static void flip(struct bytes *file, size_t at, const char *name, const char *where) {
    file->data[at] ^= 0x10;
    put(name, file->data, file->size);
    assert_refused(name, CODE_DATA, where, "");
    file->data[at] ^= 0x10;
}

static void damaged_archives_are_refused(void **state) {
    (void)state;
    for (int deflated = 0; deflated <= 1; deflated++) {
        struct bytes file;
        struct error err;
        size_t begin, end;
        npz_new("samples.npz", "arr_0.npy", (struct npy){NPY_UINT8, 1, 4, {6, H, W, 3}}, deflated, 0);
        char *path = inside("samples.npz");
        assert_int_equal(file_read(path, &file.data, &file.size, &err), 0);
        first_member(&file, &begin, &end);
        for (size_t at = begin; at < end - 2; at += 3) flip(&file, at, "flipped.npz", "flipped.npz: arr_0.npy");
        put("cut.npz", file.data, file.size / 2);
        assert_refused("cut.npz", CODE_DATA, "cut.npz", "cannot open");
        free(file.data);
        free(path);
    }
    zip_t *zip = zip_new("images.zip");
    zip_put(zip, "1.png", picture(1, 3), false);
    zip_put(zip, "0.png", picture(0, 3), false);
    assert_int_equal(zip_close(zip), 0);
    struct bytes file;
    struct error err;
    size_t begin, end;
    char *path = inside("images.zip");
    assert_int_equal(file_read(path, &file.data, &file.size, &err), 0);
    first_member(&file, &begin, &end);
    for (size_t at = begin; at < end; at += 11) flip(&file, at, "flipped.zip", "flipped.zip: 1.png");
    free(file.data);
    free(path);
}

/* In a stored array only the checksum tells of a changed pixel: whoever reads to the last image hears of it. */
static void the_checksum_is_compared_at_the_end(void **state) {
    (void)state;
    struct bytes file;
    struct error err;
    struct images *images;
    size_t begin, end;
    enum { LONG = 3000 }; /* more than is looked at when a file is opened */
    static uint8_t pixels[LONG * MOST];
    npz_new("samples.npz", "arr_0.npy", (struct npy){NPY_UINT8, 1, 4, {LONG, H, W, 3}}, false, 0);
    char *path = inside("samples.npz");
    assert_int_equal(file_read(path, &file.data, &file.size, &err), 0);
    first_member(&file, &begin, &end);
    file.data[begin + NPY_HEADER + 1] ^= 1;
    put("samples.npz", file.data, file.size);
    assert_int_equal(images_open(&images, path, IMAGES_NATURAL, &err), 0);
    assert_int_equal(images_read(images, LONG - 1, pixels, &err), 0);
    assert_int_equal(pixels[1], pixel(0, 1) ^ 1);
    assert_int_equal(images_read(images, 1, pixels, &err), -1);
    assert_int_equal(err.code, CODE_DATA);
    assert_non_null(strstr(err.message, "samples.npz: arr_0.npy: the archive is damaged (CRC error)"));
    images_close(images);
    free(file.data);
    free(path);
}

static void other_arrays_are_refused(void **state) {
    (void)state;
    static const struct {
        struct npy npy;
        int change; /* bytes behind the header more or fewer than it announces */
        const char *message;
    } cases[] = {
        {{NPY_FLOAT64, 8, 4, {2, H, W, 3}},
         0,
         "expected images |u1 [N,H,W,C] or <f4 [N,C,H,W], found <f8 of shape (2, 5, 7, 3)"},
        {{NPY_UINT8, 1, 3, {2, H, W}}, 0, "found |u1 of shape (2, 5, 7)"},
        {{NPY_UINT8, 1, 4, {2, H, W, 4}}, 0, "found |u1 of shape (2, 5, 7, 4)"},
        {{NPY_UINT8, 1, 4, {2, 3, H, W}}, 0, "1 or 3 channels, found |u1 of shape (2, 3, 5, 7)"},
        {{NPY_UINT8, 1, 4, {2, 1, 65536, 1}}, 0, "at most 65535 pixels a side"},
        {{NPY_UINT8, 1, 4, {0, H, W, 3}}, 0, "expected one or more images"},
        {{NPY_UINT8, 1, 4, {2, 0, W, 3}}, 0, "found |u1 of shape (2, 0, 7, 3)"},
        {{NPY_UINT8, 1, 4, {2, H, W, 3}}, 1, "announces 210 bytes of elements, found 211"},
        {{NPY_UINT8, 1, 4, {2, H, W, 3}}, -1, "announces 210 bytes of elements, found 209"},
        {{NPY_UINT8, 1, 4, {2, H, W, 3}}, -211, "its header is cut short"},
        {{NPY_UINT8, 1, 4, {2, H, W, 3}}, -209 - NPY_HEADER, "it does not start as one"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int deflated = 0; deflated <= 1; deflated++) {
            npz_new("x.npz", "arr_0.npy", cases[i].npy, deflated, cases[i].change);
            assert_refused("x.npz", CODE_DATA, "/x.npz: arr_0.npy: ", cases[i].message);
        }
    npz_new("x.npz", "samples.npy", cases[0].npy, false, 0);
    assert_refused("x.npz", CODE_DATA,
                   "/x.npz: ", "expected .png, .jpg or .webp images or an array named `arr_0`, found none");
}

static void what_holds_no_images_is_refused(void **state) {
    (void)state;
    put("text.png", "no archive", 10);
    assert_refused("text.png", CODE_DATA, "/text.png: ", "a folder of images, a zip archive of images or an .npz file");
    assert_refused("nowhere", CODE_IO, "/nowhere: ", "No such file");
    assert_refused("text.png/0.png", CODE_IO, "/text.png/0.png: ", "Not a directory");
    put("empty/readme.txt", "", 0);
    assert_refused("empty", CODE_DATA, "/empty: ", "expected .png, .jpg or .webp images, found none");
    put("empty/.hidden.jpg", "", 0);
    assert_refused("empty", CODE_DATA, "/empty: ", "expected .png, .jpg or .webp images, found none");
    static const char *const others[] = {"1.bmp", "1.TIFF", "1.avif"};
    for (size_t i = 0; i < 3; i++) {
        char *name = text_new("others%zu/0/%s", i, others[i]), *above = text_new("others%zu", i);
        put(name, "", 0);
        assert_refused(above, CODE_DATA, "PNG, JPEG and WebP images alone", others[i]);
        zip_t *zip = zip_new("others.zip");
        zip_put(zip, others[i], text("no image"), false);
        assert_int_equal(zip_close(zip), 0);
        assert_refused("others.zip", CODE_DATA, "PNG, JPEG and WebP images alone", others[i]);
        free(name);
        free(above);
    }
}

static void no_more_than_there_are_can_be_read(void **state) {
    (void)state;
    struct images *images;
    struct error err;
    uint8_t pixels[3 * MOST];
    char *path = inside("folder");
    put_picture("folder/0.png", 0, 3);
    put_picture("folder/1.png", 1, 3);
    assert_int_equal(images_open(&images, path, IMAGES_NATURAL, &err), 0);
    assert_int_equal(images_read(images, 3, pixels, &err), -1);
    assert_int_equal(err.code, CODE_INTERNAL);
    assert_int_equal(images_read(images, 2, pixels, &err), 0);
    assert_int_equal(images_read(images, 0, pixels, &err), 0);
    assert_int_equal(images_read(images, 1, pixels, &err), -1);
    images_close(images);
    images_close(NULL);
    free(path);
}

/* What another tool keeps under that name may be anything. */
static void a_recipe_is_a_name(void **state) {
    static const char *const cases[][2] = {{"adm-8", "adm-8"}, {"\x1b[31m", ""}, {"\xff", ""}, {"../adm", ""}};
    static const uint8_t pixels[H * W] = {0};
    (void)state;
    char *path = inside("recipe.npz");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct npz_array arrays[] = {
            {"arr_0", {NPY_UINT8, 1, 4, {1, H, W, 1}}, pixels},
            {"recipe", {NPY_BYTES, strlen(cases[i][0]), 0, {0}}, cases[i][0]},
        };
        struct images *images;
        struct error err;
        char recipe[RECIPE_SIZE];
        assert_int_equal(npz_write(path, arrays, 2, &err), 0);
        assert_int_equal(images_open(&images, path, IMAGES_NATURAL, &err), 0);
        assert_int_equal(images_recipe(images, recipe, &err), 0);
        assert_string_equal(recipe, cases[i][1]);
        images_close(images);
    }
    free(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(folders_are_read_in_order),
        TEST(what_is_no_image_is_left_out),
        TEST(numbers_in_names_are_numbers),
        TEST(other_formats_beside_images_are_refused),
        TEST(links_are_followed),
        TEST(zips_are_read_in_order),
        TEST(samples_are_read),
        TEST(damaged_archives_are_refused),
        TEST(the_checksum_is_compared_at_the_end),
        TEST(other_arrays_are_refused),
        TEST(what_holds_no_images_is_refused),
        TEST(no_more_than_there_are_can_be_read),
        TEST(a_recipe_is_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
