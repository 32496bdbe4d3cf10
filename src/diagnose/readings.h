/* What a network's output is, tried on images: how near x0 comes to them when the output is read as epsilon, x0, v,
 * ..., and when the network is told times that run the other way. A network that was trained to least squares gives,
 * read rightly, the x0 of the smallest mean square error there is, at every time: no other reading of it can be nearer.
 */
#ifndef DIAGNOSE_READINGS_H
#define DIAGNOSE_READINGS_H

#include "base/error.h"
#include "job/card.h"
#include "torch_shim.h"

#include <jansson.h>
#include <stddef.h>

struct readings_asked {
    const struct card *card;
    struct shim_model *model; /* loaded by this thread */
    const float *images;      /* [count][C*H*W], in the card's range */
    size_t count;             /* 2 or more */
};

/* *found (new): {"images", "times": [{"t", "logsnr", "pixelwise"}], "readings": [{"prediction", "noise_at" (null where
 * the time does not turn), "card", "rmse": [one a time], "mean"}], "pixelwise"}, the readings from the nearest on.
 * rmse: of x0, over images and elements; null where it is not finite. mean: geometric, over the times. pixelwise: what
 * the best estimate of every pixel from itself alone leaves. Images without labels: the null label, or where there is
 * none image i has label i mod classes. CODE_DATA when the network fails. */
int readings_measure(json_t **found, const struct readings_asked *asked, struct error *err);

#endif
