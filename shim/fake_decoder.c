/* What a fake decoder makes of latents (fake_inside.h). */
#include "fake_inside.h"

#include <math.h>

/* Element i of a picture. */
static float pixel(const struct shim_model *model, const float *z, struct shim_shape from, struct shim_shape to,
                   size_t i) {
    size_t elements = (size_t)from.channels * (size_t)from.height * (size_t)from.width;
    size_t x = i % (size_t)to.width, y = i / (size_t)to.width % (size_t)to.height,
           c = i / (size_t)to.width / (size_t)to.height % (size_t)from.channels;
    double sum = 0;
    if (!model->has_matrix)
        return z[(c * (size_t)from.height + y * (size_t)from.height / (size_t)to.height) * (size_t)from.width +
                 x * (size_t)from.width / (size_t)to.width];
    for (size_t k = 0; k < elements; k++) sum += fake_entry(model->matrix, i, k) * z[k];
    return (float)tanh(sum / sqrt((double)elements));
}

int shim_decoder_run(struct shim_model *model, const float *latents, struct shim_shape latent, struct shim_shape image,
                     float *images, char *error) {
    size_t from = (size_t)latent.channels * (size_t)latent.height * (size_t)latent.width;
    size_t to = (size_t)image.channels * (size_t)image.height * (size_t)image.width;
    if (!model->is_decoder) return fake_fail(error, "this is no decoder");
    fake_delay(model);
    for (size_t row = 0; row < (size_t)image.batch; row++) {
        const float *z = latents + row * from;
        if (z[0] > model->fail_above) return fake_fail(error, "the decoder does not like a latent, as its file asks");
        for (size_t i = 0; i < to; i++)
            images[row * to + i] = z[0] > model->nan_above ? NAN : pixel(model, z, latent, image, i);
    }
    fake_disturb(model, 0, images, (size_t)image.batch, to);
    return 0;
}
