/* AOTInductor packages (.pt2): a network as machine code, compiled for one device, processor and batch. What it was
 * compiled for is compared before any of it runs. Its own check of its inputs, off by default, is switched on
 * (shim_start): without it a tensor of another shape is read beyond its end. */
#include "torch_inside.hpp"

#include <torch/version.h>

#include <algorithm>
#include <string_view>

static const char marks_packages[] = "data/aotinductor/";

static std::string_view bytes_of(const void *data, size_t size) {
    return {static_cast<const char *>(data), size};
}

/* The names of an archive's members stand at its end. */
bool is_package(const void *data, size_t size) {
    std::string_view bytes = bytes_of(data, size);
    return bytes.substr(0, 4) == "PK\3\4" && bytes.find(marks_packages) != std::string_view::npos &&
           bytes.find("constants.pkl") == std::string_view::npos;
}

#if TORCH_VERSION_MAJOR > 2 || (TORCH_VERSION_MAJOR == 2 && TORCH_VERSION_MINOR >= 10)

#include <torch/csrc/inductor/aoti_package/model_package_loader.h>

#include <cctype>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <mutex>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <unordered_map>

namespace {

using Metadata = std::unordered_map<std::string, std::string>;
using Loader = torch::inductor::AOTIModelPackageLoader;

/* Runs of one package that may be under way at a time; further workers wait for their turn. */
size_t runners() {
    return std::max(1L, sysconf(_SC_NPROCESSORS_ONLN));
}

/* The package's bytes under a path, as its loader takes no others: what was checked is what is loaded. */
class memory_file {
  public:
    memory_file(const void *data, size_t size) : descriptor(memfd_create("package", MFD_CLOEXEC)) {
        const char *at = static_cast<const char *>(data);
        while (descriptor >= 0 && size > 0) {
            ssize_t written = ::write(descriptor, at, size);
            if (written <= 0) refuse("its ", size, " bytes cannot be kept in memory: ", std::strerror(errno));
            at += written;
            size -= static_cast<size_t>(written);
        }
        if (descriptor < 0) refuse("no memory for its bytes: ", std::strerror(errno));
    }
    ~memory_file() {
        if (descriptor >= 0) close(descriptor);
    }
    memory_file(const memory_file &) = delete;
    std::string path() const {
        return "/proc/self/fd/" + std::to_string(descriptor);
    }

  private:
    int descriptor;
};

/* ---- what it was compiled for ---- */

std::string words_of(const std::string &text) { /* " lower case " */
    std::string words = " ";
    for (char c : text) words += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return words + " ";
}

/* What the kernel says of the first processor: " fpu vme ... avx512_vnni ". */
std::string processor_flags() {
    std::ifstream info("/proc/cpuinfo");
    for (std::string line; std::getline(info, line);)
        if (line.rfind("flags", 0) == 0 || line.rfind("Features", 0) == 0) return words_of(line);
    return " ";
}

/* Each word of `needed` must be a flag of this processor. */
void check_processor(const std::string &needed, const std::string &flags) {
    std::istringstream words(words_of(needed));
    for (std::string word; words >> word;) {
        std::string flag = word == "avx512" ? "avx512f" : word == "neon" ? "asimd" : word;
        if (flags.find(" " + flag + " ") == std::string::npos)
            refuse("it was compiled for a processor with ", word, ", which this machine's has not (it needs: ", needed,
                   "): export it again on this kind of machine, or as TorchScript");
    }
}

void check_target(Metadata &metadata, c10::Device device) {
    utsname here{};
    uname(&here);
    std::string wanted = metadata["AOTI_DEVICE_KEY"], machine = metadata["AOTI_MACHINE"];
    std::string found = device.is_cpu() ? "cpu" : "cuda";
    if (wanted != found)
        refuse("it was compiled for device ", wanted.empty() ? "(unknown)" : wanted, ", and the job runs on ", found,
               ": say device: ", wanted.empty() ? "..." : wanted, ", or export it again for ", found);
    if (!machine.empty() && machine != here.machine)
        refuse("it was compiled for ", machine, " processors, and this machine is ", here.machine,
               ": export it again here, or as TorchScript");
    check_processor(metadata["AOTI_CPU_ISA"], processor_flags());
    check_processor(metadata["cpu_flags"], processor_flags());
    std::string capability = metadata["AOTI_COMPUTE_CAPABILITY"];
    if (device.is_cuda() && !capability.empty() && capability != compute_capability(device.index()))
        refuse("it was compiled for compute capability ", capability, ", and this GPU has ",
               compute_capability(device.index()), ": export it again on this kind of GPU, or as TorchScript");
}

/* ---- calls ---- */

struct package : shim_model {
    using shim_model::shim_model;
    std::unique_ptr<Loader> loader;
    size_t inputs = 0;

    /* It knows no names: inputs follow the others in the order of the card. */
    c10::IValue forward(std::vector<c10::IValue> given, const Named &named) override {
        std::vector<std::string> names{"x", "t", "labels"};
        names.resize(std::min(given.size(), names.size()));
        for (const auto &[name, value] : named) {
            names.push_back(name);
            given.push_back(value);
        }
        if (given.size() != inputs)
            refuse("it takes ", inputs, " tensors, and gets ", given.size(),
                   ": x and t, labels where its card has classes, and its card's inputs; the card or the job may be "
                   "wrong");
        std::vector<at::Tensor> tensors;
        for (const c10::IValue &value : given) tensors.push_back(value.toTensor().contiguous());
        std::vector<at::Tensor> outputs;
        try {
            outputs = loader->run(tensors);
        } catch (const std::exception &thrown) { explain(thrown.what(), names); }
        if (outputs.size() == 1) return outputs[0];
        return c10::ivalue::Tuple::create(std::vector<c10::IValue>(outputs.begin(), outputs.end()));
    }
    bool takes(const char *) const override {
        return false; /* nothing by name */
    }

  private:
    /* Its check of inputs speaks of handles. */
    [[noreturn]] static void explain(const char *message, const std::vector<std::string> &names) {
        size_t input = 0;
        int axis = 0;
        long expected = 0, found = 0;
        const char *start = std::strstr(message, "input_handles[");
        if (start && std::sscanf(start, "input_handles[%zu]: unmatched dim value at %d, expected: %ld, but got: %ld",
                                 &input, &axis, &expected, &found) == 4)
            refuse("it was compiled for ", expected, axis == 0 ? " rows (the batch)" : " values", " in axis ", axis,
                   " of ", input < names.size() ? names[input] : "an input", ", and gets ", found,
                   axis == 0 ? ": say so in the card (\"batch\") and the job" : ": the card's shape may be wrong");
        if (start && std::sscanf(start, "input_handles[%zu]: unmatched dtype", &input) == 1)
            refuse("its input ", input < names.size() ? names[input] : "",
                   " is of another type than it was compiled for: the card's time.dtype or range may be wrong");
        throw std::runtime_error(message);
    }
};

size_t count(const std::string &text, const char *word) {
    size_t found = 0;
    for (size_t at = text.find(word); at != std::string::npos; at = text.find(word, at + 1)) found++;
    return found;
}

} // namespace

shim_model *package_load(const void *data, size_t size, const char *name, c10::Device device) {
    static std::mutex one_at_a_time; /* the loader keeps what it parses in a static variable */
    std::lock_guard<std::mutex> lock(one_at_a_time);
    if (bytes_of(data, size).find("AOTI_RUNTIME_CHECK_INPUTS") == std::string_view::npos)
        refuse("its code does not check its inputs, so that a wrong shape would read beyond them: export it again with "
               "PyTorch 2.10 or newer");
    memory_file file(data, size);
    Metadata metadata = Loader::load_metadata_from_package(file.path(), "model");
    check_target(metadata, device);
    auto made = std::make_unique<package>(device, name);
    made->loader = std::make_unique<Loader>(file.path(), "model", /*run_single_threaded=*/false, runners(),
                                            device.is_cpu() ? -1 : device.index());
    std::vector<std::string> spec = made->loader->get_call_spec();
    if (spec.size() != 2 || count(spec[1], "builtins.dict") > 0)
        refuse("its forward returns a dictionary, expected a tensor or a tuple of them");
    made->inputs = count(spec[0], "\"type\": null");
    return made.release();
}

#else

shim_model *package_load(const void *, size_t, const char *, c10::Device) {
    refuse("AOTInductor packages need libtorch 2.10 or newer, and this is ", TORCH_VERSION,
           ": export it as TorchScript");
}

#endif
