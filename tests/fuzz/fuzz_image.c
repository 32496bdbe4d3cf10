/* An image file, of the kind that its first bytes say. */
#include "fuzz.h"

#include "format/image.h"

#include <stdlib.h>
#include <string.h>

enum { MOST = 1 << 20 }; /* bytes of pixels: what a header announces is allocated, by whoever decodes it */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct image_shape shape;
    struct error err;
    char *exact = malloc(size ? size : 1); /* so that reading on would be seen */
    if (!exact) abort();
    if (size) memcpy(exact, data, size);
    if (image_look(&shape, exact, size, "x", &err) == 0) {
        if (shape.height < 1 || shape.width < 1 || (shape.channels != 1 && shape.channels != 3)) abort();
        size_t pixels = (size_t)shape.height * (size_t)shape.width * (size_t)shape.channels;
        uint8_t *out = pixels <= MOST ? malloc(pixels) : NULL;
        if (out) image_decode(exact, size, &shape, out, "x", &err);
        free(out);
    }
    free(exact);
    return 0;
}
