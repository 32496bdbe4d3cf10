/* ~ and $ in the paths of a job. */
#include "config/expand.h"

#include "base/text.h"

#include <stdlib.h>
#include <string.h>

static int add_variable(struct text *text, const char *name, int length, struct error *err) {
    char *copy = text_new("%.*s", length, name);
    const char *value = copy ? getenv(copy) : NULL;
    int rc = !copy ? error_memory(err)
             : value && *value
                 ? 0
                 : error_set(err, CODE_DATA,
                             "expected $%s to be set in the environment, found nothing (a dollar itself is $$)", copy);
    if (rc == 0) text_add(text, "%s", value);
    free(copy);
    return rc;
}

/* What stands behind a dollar; *at: moved behind it. */
static int add_dollar(struct text *text, const char **at, struct error *err) {
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789";
    bool braces = **at == '{';
    const char *name = *at + braces;
    size_t length = strspn(name, letters);
    if (**at == '$') {
        text_add(text, "$");
        ++*at;
        return 0;
    }
    if (length == 0 || (*name >= '0' && *name <= '9') || (braces && name[length] != '}'))
        return error_set(err, CODE_DATA, "expected $NAME, ${NAME} or $$ (a dollar itself), found $%.40s", *at);
    *at = name + length + braces;
    return add_variable(text, name, (int)length, err);
}

int path_expand(char **expanded, const char *path, struct error *err) {
    struct text text = {0};
    int rc = 0;
    *expanded = NULL;
    if (*path == '~' && path[1] && path[1] != '/')
        return error_set(err, CODE_DATA, "expected a path or ~/..., found %.40s (a file of that name is ./%.40s)", path,
                         path);
    text_add(&text, "%s", "");
    if (*path == '~' && path++) rc = add_variable(&text, "HOME", 4, err);
    while (rc == 0 && *path) {
        size_t plain = strcspn(path, "$");
        text_add(&text, "%.*s", (int)plain, path);
        path += plain;
        if (*path && path++) rc = add_dollar(&text, &path, err);
    }
    if (rc == 0 && text.failed) rc = error_memory(err);
    if (rc == 0) *expanded = text.data;
    else text_release(&text);
    return rc;
}

char *path_literal(const char *path) {
    struct text text = {0};
    text_add(&text, *path == '~' ? "./" : "");
    for (; *path; path++) text_add(&text, *path == '$' ? "$$" : "%c", *path);
    if (text.failed) text_release(&text);
    return text.data;
}

int paths_write_literal(json_t *value) {
    const char *key, *text = json_string_value(value);
    json_t *below;
    size_t i;
    json_array_foreach(value, i, below) if (paths_write_literal(below) != 0) return -1;
    json_object_foreach(value, key, below) if (paths_write_literal(below) != 0) return -1;
    if (!text || *text != '/' || !strchr(text, '$')) return 0;
    char *literal = path_literal(text);
    int rc = literal ? json_string_set(value, literal) : -1;
    free(literal);
    return rc;
}
