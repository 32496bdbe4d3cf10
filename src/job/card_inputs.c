/* The inputs that a card names. */
#include "job/card_inputs.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

const char *const input_dtype_names[] = {"float32", "int64", "bool", NULL};

/* An argument of forward; not one that has its own place, nor a key beside the inputs in a job's conditions. */
static int read_name(KEY_READ_ARGUMENTS) {
    static const char *const taken[] = {"x", "t", "labels", "rows", "captions"};
    const char *name = json_string_value(value);
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789";
    size_t length = name ? strspn(name, letters) : 0;
    bool good = name && length > 0 && !name[length] && length < sizeof((struct card_input *)0)->name &&
                (name[0] < '0' || name[0] > '9');
    for (size_t i = 0; good && i < sizeof taken / sizeof *taken; i++) good = strcmp(name, taken[i]) != 0;
    if (!good) return key_fail(reader, path, key->expected, value);
    memcpy(member, name, length + 1);
    return 0;
}

static int read_shape(KEY_READ_ARGUMENTS) { /* the member is the input */
    enum { LARGEST = 1 << 28 };
    struct card_input *input = member;
    size_t elements = 1;
    input->rank = (int)json_array_size(value);
    bool good = json_is_array(value) && input->rank <= INPUT_AXES;
    for (int i = 0; good && i < input->rank; i++) {
        json_int_t side = json_integer_value(json_array_get(value, (size_t)i)); /* 0 when it is no integer */
        good = side >= 1 && side <= LARGEST && (elements *= (size_t)side) <= LARGEST;
        input->shape[i] = (size_t)side;
    }
    return good ? 0 : key_fail(reader, path, key->expected, value);
}

#define AT(member) offsetof(struct card_input, member)
static const struct key_kind NAME = {read_name, NULL}, SHAPE = {read_shape, NULL};
static const struct key rows[] = {
    {"name", &NAME, AT(name), .expected = "the name of an argument of forward, but x, t, labels, rows and captions",
     .required = true},
    {"shape", &SHAPE, 0, .expected = "the shape of one row, at most 3 whole numbers of 1 or more", .required = true},
    {"dtype", &KEY_NAME, AT(dtype), .names = input_dtype_names},
    {"null", &KEY_STRING, AT(null), .expected = "\"zeros\", the path of a file with one row, or null",
     .nullable = true},
};
static const struct key_table input_keys = KEY_TABLE(rows);

int card_read_inputs(KEY_READ_ARGUMENTS) {
    struct card *card = member;
    if (!json_is_array(value) || json_array_size(value) > INPUTS_MOST)
        return key_fail(reader, path, key->expected, value);
    for (size_t i = 0; i < json_array_size(value); i++) {
        struct card_input *input = &card->inputs[card->inputs_count++];
        char *below = text_new("%s[%zu]", path, i);
        int rc = below ? keys_read(reader, &input_keys, below, json_array_get(value, i), input)
                       : error_memory(reader->err);
        for (size_t k = 0; rc == 0 && k < i; k++)
            if (strcmp(card->inputs[k].name, input->name) == 0)
                rc = key_error(reader, below, "expected another name than that of %s[%zu], found \"%s\" twice", path, k,
                               input->name);
        free(below);
        if (rc != 0) return -1;
    }
    return 0;
}
