/* Calls networks, whatever their form, and checks what they give. */
#include "torch_inside.hpp"

#include <array>
#include <limits>

namespace {

at::Tensor time_tensor(c10::Device device, int batch, const shim_condition &condition) {
    if (condition.integer_time)
        return at::full({batch}, static_cast<int64_t>(condition.time), at::TensorOptions(at::kLong).device(device));
    return at::full({batch}, condition.time, at::TensorOptions(at::kFloat).device(device));
}

/* A copy, which the network may do with as it likes; on the CPU in memory of this thread that stays, for large ones
 * come at every call and the allocator would scatter them. `place`: of the network's inputs. */
at::Tensor input_on(c10::Device device, int batch, const shim_input &input, size_t place) {
    static const at::ScalarType types[] = {at::kFloat, at::kLong, at::kBool};
    static thread_local std::vector<at::Tensor> kept;
    std::vector<int64_t> sizes{batch};
    sizes.insert(sizes.end(), input.shape, input.shape + input.rank);
    at::Tensor values = host_view(input.values, sizes, types[input.type]);
    if (!device.is_cpu()) return copy_to(device, values);
    if (kept.size() <= place) kept.resize(place + 1);
    at::Tensor &own = kept[place];
    bool free = own.defined() && own.use_count() == 1 && own.storage().use_count() == 1;
    if (!free || own.sizes() != values.sizes() || own.scalar_type() != values.scalar_type())
        own = at::empty(sizes, values.options());
    own.copy_(values);
    return own;
}

at::Tensor floats(const c10::IValue &output) {
    if (!output.isTensor())
        refuse("the model returned ", output.tagKind(), ", expected a tensor; export a model that gives one");
    at::Tensor tensor = output.toTensor();
    if (!tensor.is_floating_point())
        refuse("the model's output is of type ", tensor.scalar_type(), ", expected floating point");
    return tensor;
}

/* One output of what forward returned, by its place among `count` or its name. */
at::Tensor pick(const c10::IValue &returned, const shim_output &output, int place, int count) {
    if (returned.isTuple()) {
        const std::vector<c10::IValue> &elements = returned.toTupleRef().elements().vec();
        if (elements.size() != static_cast<size_t>(count))
            refuse("the network returned ", elements.size(), " tensors, its description names ", count);
        return floats(elements[static_cast<size_t>(place)]);
    }
    if (returned.isGenericDict()) {
        c10::Dict<c10::IValue, c10::IValue> dictionary = returned.toGenericDict();
        if (!dictionary.contains(std::string(output.name))) refuse("the network returned no `", output.name, "`");
        return floats(dictionary.at(std::string(output.name)));
    }
    if (count != 1) refuse("the network returned one tensor, its description names ", count);
    return floats(returned);
}

/* The file that FIDs are published with answers one question at a time. */
at::Tensor ask_inception(shim_model &model, const at::Tensor &images, const shim_output &output) {
    bool pool = std::strcmp(output.name, "pool") == 0;
    Named named{{pool ? "return_features" : "no_output_bias", true}};
    at::Tensor answer = floats(model.forward({images}, named));
    /* A float's softmax may underflow to 0; the least float has as good as no part in any sum of p log p, and its log
     * is finite. */
    return pool ? answer : answer.clamp_min(std::numeric_limits<float>::denorm_min()).log();
}

} // namespace

Given given_on(c10::Device device, int batch, const shim_condition &condition) {
    Given given{labels_on(device, batch, condition.labels), {}};
    for (int i = 0; i < condition.inputs_count; i++)
        given.inputs.emplace_back(condition.inputs[i].name,
                                  input_on(device, batch, condition.inputs[i], static_cast<size_t>(i)));
    return given;
}

at::Tensor diffuse(shim_model &model, const at::Tensor &x, const shim_shape &shape, const shim_condition &condition,
                   const Given &given) {
    std::vector<c10::IValue> inputs{x, time_tensor(model.device, shape.batch, condition)};
    if (given.labels.defined()) inputs.emplace_back(given.labels);
    at::Tensor out = floats(model.forward(std::move(inputs), given.inputs));
    bool fits = out.dim() == 4 && out.size(0) == shape.batch && out.size(1) >= shape.channels &&
                out.size(2) == shape.height && out.size(3) == shape.width;
    if (!fits)
        refuse("the model's output is ", out.sizes(), " for an input of ", x.sizes(),
               ": expected the same, or more channels; the model card's shape may be wrong");
    if (condition.channels > 0 && out.size(1) != condition.channels)
        refuse("the model's output is ", out.sizes(), ", expected ", condition.channels,
               " channels, half of them variance, as the model card says");
    model.channels.store(static_cast<int>(out.size(1)), std::memory_order_relaxed);
    return out;
}

extern "C" {

int shim_model_load(struct shim_model **model, const struct shim_file *file, int device, char *error) {
    *model = nullptr;
    bool package = is_package(file->data, file->size);
    char where[SHIM_ERROR];
    std::snprintf(where, sizeof where, "%s: cannot be loaded as %s", file->name,
                  package ? "an AOTInductor package" : "a TorchScript file");
    return guarded(error, where, [&] {
        c10::InferenceMode parameters_are_plain_tensors(false);
        File bytes = std::make_shared<const file_bytes>(*file);
        *model = package ? package_load(bytes->data, bytes->size, file->name, device_of(device))
                         : script_load(bytes, file->name, device_of(device));
    });
}

int shim_model_record(struct shim_model **model, char *error) {
    return guarded(error, (*model)->path.c_str(), [&] { *model = graphs_of(*model); });
}

int shim_model_channels(const struct shim_model *model) {
    return model->channels.load(std::memory_order_relaxed);
}

void shim_model_free(struct shim_model *model) {
    delete model;
}

int shim_model_run(struct shim_model *model, const float *x, struct shim_shape shape,
                   const struct shim_condition *condition, float *out, float *variance, char *error) {
    return calling(*model, error, [&] {
        c10::DeviceGuard on(model->device);
        std::vector<int64_t> sizes = sizes_of(shape);
        at::Tensor input = copy_to(model->device, host_view(x, sizes, at::kFloat));
        at::Tensor both = diffuse(*model, input, shape, *condition, given_on(model->device, shape.batch, *condition));
        host_view(out, sizes, at::kFloat).copy_(both.narrow(1, 0, shape.channels));
        if (variance) host_view(variance, sizes, at::kFloat).copy_(both.narrow(1, shape.channels, shape.channels));
    });
}

int shim_decoder_run(struct shim_model *model, const float *latents, struct shim_shape latent, struct shim_shape image,
                     float *images, char *error) {
    return calling(*model, error, [&] {
        c10::DeviceGuard on(model->device);
        at::Tensor input = copy_to(model->device, host_view(latents, sizes_of(latent), at::kFloat));
        at::Tensor out = floats(model->forward({input}));
        std::vector<int64_t> sizes = sizes_of(image);
        if (out.sizes() != at::IntArrayRef(sizes))
            refuse("its output is ", out.sizes(), " for latents of ", input.sizes(), ", expected ",
                   at::IntArrayRef(sizes), ", as its decoder.json says");
        host_view(images, sizes, at::kFloat).copy_(out);
    });
}

int shim_features_run(struct shim_model *model, const void *images, int is_uint8, struct shim_shape shape,
                      const struct shim_output *outputs, int count, char *error) {
    return calling(*model, error, [&] {
        c10::DeviceGuard on(model->device);
        at::Tensor host = host_view(images, sizes_of(shape), is_uint8 ? at::kByte : at::kFloat);
        at::Tensor input = copy_to(model->device, host);
        bool inception = model->takes("return_features") && model->takes("no_output_bias");
        c10::IValue returned;
        if (!inception) returned = model->forward({input});
        for (int i = 0; i < count; i++) {
            const shim_output &output = outputs[i];
            if (!output.values) continue;
            at::Tensor found = inception ? ask_inception(*model, input, output) : pick(returned, output, i, count);
            std::array<int64_t, 2> expected{shape.batch, output.dim};
            if (found.dim() < 2 || found.size(0) != expected[0] || found.numel() != expected[0] * expected[1])
                refuse("`", output.name, "` is ", found.sizes(), ", expected ", at::IntArrayRef(expected));
            host_view(output.values, expected, at::kFloat).copy_(found.reshape(expected));
        }
    });
}

} // extern "C"
