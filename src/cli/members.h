/* Members of a JSON object that a command prints. */
#ifndef CLI_MEMBERS_H
#define CLI_MEMBERS_H

#include <jansson.h>

/* 0, and "?", where there is no such member. */
static inline long long whole_at(const json_t *object, const char *key) {
    return (long long)json_integer_value(json_object_get(object, key));
}
static inline double number_at(const json_t *object, const char *key) {
    return json_number_value(json_object_get(object, key));
}
static inline const char *text_at(const json_t *object, const char *key) {
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "?";
}

#endif
