/* Registers on a device. */
#include "torch_inside.hpp"

#include <algorithm>
#include <cmath>

extern "C" {

struct shim_registers {
    shim_shape shape;
    c10::Device device;
    std::vector<at::Tensor> tensors;
    std::vector<int64_t> labels; /* those of the last call, which are those of most next calls, ... */
    at::Tensor labels_on_device; /* ... so that they need no copy, which would wait for the device */

    at::Tensor &operator[](int number) {
        if (number < 0 || number >= static_cast<int>(tensors.size()))
            refuse("there is no register ", number, ", only 0 to ", tensors.size() - 1);
        return tensors[static_cast<size_t>(number)];
    }
};

int shim_registers_new(struct shim_registers **registers, int device, int count, struct shim_shape shape,
                       int is_float64, char *error) {
    *registers = nullptr;
    return guarded(error, "registers", [&] {
        c10::Device on = device_of(device);
        at::TensorOptions options = at::TensorOptions(is_float64 ? at::kDouble : at::kFloat).device(on);
        std::vector<at::Tensor> tensors;
        for (int i = 0; i < count; i++) tensors.push_back(at::empty(sizes_of(shape), options));
        *registers = new shim_registers{shape, on, std::move(tensors), {}, {}};
    });
}

void shim_registers_free(struct shim_registers *registers) {
    delete registers;
}

int shim_registers_set(struct shim_registers *registers, int dst, const double *host, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        (*registers)[dst].copy_(host_view(host, sizes_of(registers->shape), at::kDouble));
    });
}

int shim_registers_get(struct shim_registers *registers, int src, double *host, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        host_view(host, sizes_of(registers->shape), at::kDouble).copy_((*registers)[src]);
    });
}

/* Multiply, then add: add_ with a coefficient would round once, the loop on the host rounds twice. */
int shim_registers_lincomb(struct shim_registers *registers, int dst, int count, const double *coefficients,
                           const int *sources, int first, int beyond, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        at::Tensor sum = at::zeros({}, (*registers)[dst].options()).expand(sizes_of(registers->shape));
        for (int i = 0; i < count; i++) {
            at::Tensor term = at::mul((*registers)[sources[i]], coefficients[i]);
            sum = i == 0 ? term : sum.add_(term);
        }
        if (beyond > 0) {
            at::Tensor whole = (*registers)[sources[0]].clone();
            whole.narrow(1, first, beyond - first).copy_(sum.narrow(1, first, beyond - first));
            sum = whole;
        }
        (*registers)[dst].copy_(sum);
    });
}

int shim_registers_clamp(struct shim_registers *registers, int dst, double low, double high, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        (*registers)[dst].clamp_(low, high);
    });
}

int shim_registers_rescale(struct shim_registers *registers, int dst, int src, int like, double phi, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        at::Tensor x = (*registers)[src];
        double rounding = x.scalar_type() == at::kDouble ? 1e-12 : 1e-6;
        auto spread =
            [&](const at::Tensor &of) { /* 0 where it is but the rounding of the mean */
                                        at::Tensor flat = of.flatten(1), mean = flat.mean(1, /*keepdim=*/true);
                                        at::Tensor deviation = flat.std(1, /*unbiased=*/true, /*keepdim=*/true);
                                        return (deviation * (deviation > rounding * mean.abs())).reshape({-1, 1, 1, 1});
            };
        at::Tensor own = spread(x), factor = phi * spread((*registers)[like]) / own + (1 - phi);
        (*registers)[dst].copy_(x * at::where(own > 0, factor, at::ones_like(factor)));
    });
}

int shim_registers_mulexp(struct shim_registers *registers, int dst, int src, double a, double b, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        (*registers)[dst].mul_(at::mul((*registers)[src], b).add_(a).exp_());
    });
}

/* By sorting: at::quantile takes no more than 16 million values. */
int shim_registers_threshold(struct shim_registers *registers, int dst, double quantile, double low, double high,
                             char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        at::Tensor x = (*registers)[dst], sorted = std::get<0>(x.flatten(1).abs().sort(1));
        double place = quantile * static_cast<double>(sorted.size(1) - 1), part = place - std::floor(place);
        at::Tensor s = sorted.select(1, static_cast<int64_t>(place));
        if (part > 0) s = s + part * (sorted.select(1, static_cast<int64_t>(place) + 1) - s);
        s = s.clamp(low, high).reshape({-1, 1, 1, 1});
        x.copy_(at::clamp(x, -s, s) * (low / s));
    });
}

int shim_registers_project(struct shim_registers *registers, int dst, int src, int onto, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        at::Tensor y = (*registers)[onto];
        auto dot = [&](const at::Tensor &of) { return (of * y).flatten(1).sum(1).reshape({-1, 1, 1, 1}); };
        at::Tensor square = dot(y), factor = dot((*registers)[src]) / square;
        (*registers)[dst].copy_(at::where(square > 0, factor, at::zeros_like(factor)) * y);
    });
}

int shim_registers_limit(struct shim_registers *registers, int dst, double norm, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        at::Tensor x = (*registers)[dst], own = (x * x).flatten(1).sum(1).sqrt().reshape({-1, 1, 1, 1});
        x.mul_(at::where(own > norm, norm / own, at::ones_like(own)));
    });
}

int shim_registers_guide(struct shim_registers *registers, int dst, int src, int guide, const double *scales, int first,
                         int beyond, char *error) {
    return guarded(error, "registers", [&] {
        c10::DeviceGuard on(registers->device);
        at::Tensor x = (*registers)[src], on_host = at::empty({registers->shape.batch, 1, 1, 1}, at::kDouble);
        std::copy_n(scales, registers->shape.batch, on_host.data_ptr<double>());
        at::Tensor scale = on_host.to(x.options()), rest = (1 - on_host).to(x.options());
        at::Tensor sum = (x * scale).add_((*registers)[guide] * rest);
        if (beyond > 0) {
            at::Tensor whole = x.clone();
            whole.narrow(1, first, beyond - first).copy_(sum.narrow(1, first, beyond - first));
            sum = whole;
        }
        (*registers)[dst].copy_(sum);
    });
}

int shim_registers_eval(struct shim_registers *registers, struct shim_model *model, int dst, int dst2, int twin,
                        int src, const struct shim_condition *condition, char *error) {
    return calling(*model, error, [&] {
        c10::DeviceGuard on(registers->device);
        const int64_t *labels = condition->labels;
        struct shim_shape shape = registers->shape;
        int batch = shape.batch, channels = shape.channels;
        if (twin >= 0) shape.batch *= 2;
        if (labels && !std::equal(labels, labels + shape.batch, registers->labels.begin(), registers->labels.end())) {
            registers->labels_on_device = labels_on(registers->device, shape.batch, labels);
            registers->labels.assign(labels, labels + shape.batch);
        }
        at::Tensor x = (*registers)[src].to(at::kFloat, /*non_blocking=*/false, /*copy=*/true);
        if (twin >= 0) x = at::cat({x, x});
        at::Tensor given = labels ? registers->labels_on_device : at::Tensor();
        at::Tensor out = diffuse(*model, x, shape, *condition, given).to(at::kFloat);
        (*registers)[dst].copy_(out.narrow(0, 0, batch).narrow(1, 0, channels));
        if (twin >= 0) (*registers)[twin].copy_(out.narrow(0, batch, batch).narrow(1, 0, channels));
        if (dst2 >= 0) (*registers)[dst2].copy_(out.narrow(0, 0, batch).narrow(1, channels, channels));
    });
}

} // extern "C"
