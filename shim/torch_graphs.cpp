/* CUDA graphs: a network's calls on a GPU, recorded once for each thread and shape of its inputs, and then replayed
 * with one launch. It is what a small network needs, whose many kernels end sooner than they are started. Compiled in
 * where CUDA's headers are (tools/libtorch.sh), for only this file needs them. */
#include "torch_inside.hpp"

#ifdef CUDA_GRAPHS

#include <ATen/cuda/CUDAGraph.h>

#include <map>
#include <mutex>
#include <thread>

namespace {

constexpr size_t most = 4;    /* recordings a thread: whole batches, the last one, and both with guidance in one call */
constexpr int warm_calls = 3; /* libtorch plans and allocates in its first ones, which cannot be recorded */

using Tensors = std::vector<at::Tensor>;

/* A network's tensors, in the order of its results. */
Tensors tensors_of(const c10::IValue &output) {
    if (output.isTensor()) return {output.toTensor()};
    if (!output.isTuple()) refuse("the model returned ", output.tagKind(), ", expected a tensor or a tuple of them");
    Tensors found;
    for (const c10::IValue &element : output.toTupleRef().elements()) found.push_back(element.toTensor());
    return found;
}

Tensors copies(const Tensors &tensors) {
    Tensors made;
    for (const at::Tensor &tensor : tensors) made.push_back(tensor.clone());
    return made;
}

bool equal(const Tensors &some, const Tensors &others) {
    for (size_t i = 0; i < some.size() && i < others.size(); i++)
        if (!at::equal(some[i].nan_to_num(), others[i].nan_to_num())) return false;
    return some.size() == others.size();
}

struct recording {
    Tensors inputs; /* where a replay reads: x, t, labels, those by name */
    at::cuda::CUDAGraph graph;
    c10::IValue output; /* where it writes */

    bool fits(const Tensors &given) const {
        bool same = given.size() == inputs.size();
        for (size_t i = 0; same && i < given.size(); i++)
            same = inputs[i].sizes() == given[i].sizes() && inputs[i].scalar_type() == given[i].scalar_type();
        return same;
    }
    /* Copies: the next replay writes over its output. */
    Tensors replay(const Tensors &given) {
        for (size_t i = 0; i < given.size(); i++) inputs[i].copy_(given[i], /*non_blocking=*/true);
        graph.replay();
        return copies(tensors_of(output));
    }
};

struct graphed : shim_model {
    explicit graphed(shim_model *model) : shim_model(model->device, model->path.c_str()), inner(model) {
        weights = model->weights;
    }
    c10::IValue forward(std::vector<c10::IValue> inputs, const Named &named) override {
        Tensors given;
        for (const c10::IValue &value : inputs) given.push_back(value.toTensor());
        for (const auto &[name, value] : named) given.push_back(value.toTensor());
        recording *known = recorded(given, named);
        if (!known) return inner->forward(std::move(inputs), named);
        Tensors found = known->replay(given);
        if (known->output.isTensor()) return found[0];
        return c10::ivalue::Tuple::create(std::vector<c10::IValue>(found.begin(), found.end()));
    }
    bool takes(const char *argument) const override {
        return inner->takes(argument);
    }

  private:
    using Recordings = std::vector<std::unique_ptr<recording>>;
    std::unique_ptr<shim_model> inner;
    std::mutex lock; /* of the map: its entries are each one thread's */
    std::map<std::thread::id, Recordings> threads;

    /* This thread's for inputs of these shapes, new where there is none; NULL: there are too many. */
    recording *recorded(const Tensors &given, const Named &named) {
        std::unique_lock<std::mutex> hold(lock);
        Recordings &mine = threads[std::this_thread::get_id()];
        hold.unlock();
        for (const std::unique_ptr<recording> &known : mine)
            if (known->fits(given)) return known.get();
        if (mine.size() >= most) return nullptr;
        auto made = std::make_unique<recording>();
        record(*made, given, named);
        prove(*made, given, named);
        mine.push_back(std::move(made));
        return mine.back().get();
    }
    /* The last of the tensors are those by name. */
    c10::IValue call(const Tensors &tensors, const Named &like) {
        size_t first = tensors.size() - like.size();
        std::vector<c10::IValue> inputs(tensors.begin(), tensors.begin() + static_cast<std::ptrdiff_t>(first));
        Named named;
        for (size_t i = 0; i < like.size(); i++) named.emplace_back(like[i].first, tensors[first + i]);
        return inner->forward(std::move(inputs), named);
    }
    /* On this thread's stream, which is none that another one uses. One at a time in the process. */
    void record(recording &made, const Tensors &given, const Named &named) {
        static std::mutex one_at_a_time;
        for (int i = 0; i < warm_calls; i++) call(copies(given), named);
        made.inputs = copies(given);
        std::lock_guard<std::mutex> hold(one_at_a_time);
        made.graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
        try {
            made.output = call(made.inputs, named);
        } catch (const std::exception &thrown) {
            std::string why = thrown.what();
            try {
                made.graph.capture_end();
            } catch (const std::exception &) { /* of a recording that broke, this says so once more */
            }
            refuse("its call cannot be recorded as a CUDA graph (cuda_graphs: false goes without): ", why);
        }
        made.graph.capture_end();
    }
    /* What was recorded must depend on the inputs as the network does: these, and others. */
    void prove(recording &made, const Tensors &given, const Named &named) {
        Tensors other = given;
        other[0] = given[0] * 0.5;
        for (const Tensors &tried : {given, other})
            if (!equal(made.replay(tried), tensors_of(call(copies(tried), named))))
                refuse("its call gives other values when it is replayed as a CUDA graph: say cuda_graphs: false");
    }
};

} // namespace

shim_model *graphs_of(shim_model *model) {
    return new graphed(model);
}

#else

shim_model *graphs_of(shim_model *) {
    refuse("cuda_graphs: true, and this program was built without CUDA's headers: build it again where there is "
           "CUDA's toolkit (CUDA_HOME, /usr/local/cuda)");
}

#endif
