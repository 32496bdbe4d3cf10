/* Text, images and numbers made safe for HTML and SVG. */
#include "report/markup.h"

#include "format/json_file.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>

static const char *replacement(unsigned char c) {
    switch (c) {
        case '&': return "&amp;";
        case '<': return "&lt;";
        case '>': return "&gt;";
        case '"': return "&quot;";
        case '\'': return "&#39;";
        default: return NULL;
    }
}

void markup_add(struct text *out, const char *text) {
    while (text && *text) {
        size_t length = 0, plain = 0;
        bool shown = true;
        do {
            plain += length;
            length = text[plain] ? text_character(text + plain, &shown) : 0;
        } while (length > 0 && !replacement((unsigned char)text[plain]) && (shown || strchr("\n\t", text[plain])));
        text_add(out, "%.*s", (int)plain, text);
        text += plain;
        const char *instead = length > 0 ? replacement((unsigned char)*text) : NULL;
        if (length > 0) text_add(out, "%s", instead ? instead : "\xef\xbf\xbd");
        text += length;
    }
}

void markup_image(struct text *out, const void *png, size_t size) {
    unsigned char *base64 = malloc(4 * (size / 3) + 5);
    if (!base64) {
        out->failed = true;
        return;
    }
    EVP_EncodeBlock(base64, png, (int)size);
    text_add(out, "data:image/png;base64,%s", (char *)base64);
    free(base64);
}

char *markup_value(const json_t *value, int digits) {
    if (!value || json_is_null(value)) return strdup("");
    if (json_is_string(value)) return strdup(json_string_value(value));
    if (json_is_integer(value)) return text_new("%lld", (long long)json_integer_value(value));
    if (json_is_real(value) && digits > 0) return text_new("%.*g", digits, json_real_value(value));
    if (json_is_real(value)) { /* the shortest that reads back the same */
        double number = json_real_value(value);
        for (int n = 1; n <= 17; n++) {
            char *text = text_new("%.*g", n, number);
            if (!text || strtod(text, NULL) == number) return text;
            free(text);
        }
    }
    return json_text(value, JSON_COMPACT | JSON_ENCODE_ANY);
}
