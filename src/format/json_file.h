/* JSON files, read and written whole (one that cannot be is CODE_IO); JSON values, made whole or not at all.
 * Thread-safe. */
#ifndef FORMAT_JSON_FILE_H
#define FORMAT_JSON_FILE_H

#include "base/draft.h"
#include "base/error.h"

#include <jansson.h>

/* Writes a JSON object or array as an indented file, atomically; takes no reference. */
int json_file_write(const char *path, const json_t *json, struct error *err);
/* The same, as file_write_guarded. */
int json_file_write_guarded(const char *path, const json_t *json, const struct file_guard *guard, struct error *err);
/* *json new. A file that is no JSON, or has a member twice, is CODE_DATA. */
int json_file_read(json_t **json, const char *path, struct error *err);
/* The same; 0 with *json NULL: there is no such file. */
int json_file_read_if_there(json_t **json, const char *path, struct error *err);
/* json_copy of an object, which leaves members out when memory is short: NULL then. */
json_t *json_whole_copy(const json_t *object);
json_t *json_whole_deep_copy(const json_t *json); /* the same of json_deep_copy */
/* json_dumps, whole or NULL: the text of jansson 2.14 lacks keys where memory was short. New. */
char *json_text(const json_t *json, size_t flags);
/* Adds a new value, which is taken over, to a list or under a new key to a map. Where it cannot (the value NULL, no
 * memory) *list or *map is NULL from then on, and json_pack is NULL of that: nothing is left out unnoticed. */
void json_list_add(json_t **list, json_t *value);
void json_map_add(json_t **map, const char *key, json_t *value);
/* The same to the list under a key, made where it is missing, unless there is an equal value in it. */
void json_map_add_once(json_t **map, const char *key, json_t *value);
/* Borrowed: an object's member's member, or NULL. */
json_t *json_member(const json_t *object, const char *outer, const char *inner);
/* "WHERE: expected EXPECTED, found VALUE"; CODE_DATA. value NULL: there is none. */
int json_refuse(struct error *err, const char *where, const char *expected, const json_t *value);
/* A number, or null where it is NaN or infinite, which JSON cannot say. New. */
json_t *json_finite(double value);
/* The same as json_dumps has it with 17 digits, faster: its length, without a zero byte; 0: no number of JSON's. */
enum { JSON_NUMBER = 32 };
size_t json_number(char text[JSON_NUMBER], double value);

#endif
