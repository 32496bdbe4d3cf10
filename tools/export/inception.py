"""The Inception network of 2015-12-05 from the weights that torch-fidelity and pytorch-fid download (one file under two
names, pt_inception-2015-12-05-6726825d.pth): as TensorFlow's graph has it, average pools that leave padding out, and a
maximum in its last block."""
import torch
import torch.nn.functional as F

SPATIAL = 7  # channels that ADM's evaluator takes of mixed_6/conv


class Inception(torch.nn.Module):
    """x [B,3,299,299] in [-1, 1] -> pool [B,2048], spatial [B,2023] (ADM's, row by row, channels last), logits [B,1008]
    without their bias, as torch-fidelity's and ADM's inception score takes them."""

    def __init__(self, state):
        super().__init__()
        for name, value in state.items():
            if value.is_floating_point():
                self.register_buffer(name.replace(".", "_"), value)

    def conv(self, x, name, stride=1, padding=0):
        get = lambda what: getattr(self, f"{name}_{what}".replace(".", "_"))
        x = F.conv2d(x, get("conv_weight"), None, stride, padding)
        return F.relu(F.batch_norm(x, get("bn_running_mean"), get("bn_running_var"), get("bn_weight"), get("bn_bias"),
                                   False, 0.1, 0.001))

    def chain(self, x, block, *layers):
        """Convolutions one after another; a layer: its name, and its padding where it has some."""
        for name, padding in layers:
            x = self.conv(x, f"{block}.{name}", 1, padding)
        return x

    def pooled(self, x, block, pool=F.avg_pool2d):
        x = F.max_pool2d(x, 3, 1, 1) if pool is F.max_pool2d else pool(x, 3, 1, 1, count_include_pad=False)
        return self.conv(x, f"{block}.branch_pool")

    def block_a(self, x, block):
        return torch.cat([self.conv(x, f"{block}.branch1x1"),
                          self.chain(x, block, ("branch5x5_1", 0), ("branch5x5_2", 2)),
                          self.chain(x, block, ("branch3x3dbl_1", 0), ("branch3x3dbl_2", 1), ("branch3x3dbl_3", 1)),
                          self.pooled(x, block)], 1)

    def block_b(self, x, block):
        narrow = self.chain(x, block, ("branch3x3dbl_1", 0), ("branch3x3dbl_2", 1))
        return torch.cat([self.conv(x, f"{block}.branch3x3", 2), self.conv(narrow, f"{block}.branch3x3dbl_3", 2),
                          F.max_pool2d(x, 3, 2)], 1)

    def block_c(self, x, block):
        wide, high = (0, 3), (3, 0)
        single = self.chain(x, block, ("branch7x7_1", 0), ("branch7x7_2", wide), ("branch7x7_3", high))
        double = self.chain(x, block, ("branch7x7dbl_1", 0), ("branch7x7dbl_2", high), ("branch7x7dbl_3", wide),
                            ("branch7x7dbl_4", high), ("branch7x7dbl_5", wide))
        return torch.cat([self.conv(x, f"{block}.branch1x1"), single, double, self.pooled(x, block)], 1)

    def block_d(self, x, block):
        first = self.conv(x, f"{block}.branch3x3_1")
        second = self.chain(x, block, ("branch7x7x3_1", 0), ("branch7x7x3_2", (0, 3)), ("branch7x7x3_3", (3, 0)))
        return torch.cat([self.conv(first, f"{block}.branch3x3_2", 2), self.conv(second, f"{block}.branch7x7x3_4", 2),
                          F.max_pool2d(x, 3, 2)], 1)

    def block_e(self, x, block, pool):
        def split(of, name):
            return [self.conv(of, f"{block}.{name}a", 1, (0, 1)), self.conv(of, f"{block}.{name}b", 1, (1, 0))]
        single = self.conv(x, f"{block}.branch3x3_1")
        double = self.chain(x, block, ("branch3x3dbl_1", 0), ("branch3x3dbl_2", 1))
        return torch.cat([self.conv(x, f"{block}.branch1x1"), *split(single, "branch3x3_2"),
                          *split(double, "branch3x3dbl_3"), self.pooled(x, block, pool)], 1)

    def forward(self, x):
        x = self.conv(self.conv(x, "Conv2d_1a_3x3", 2), "Conv2d_2a_3x3")
        x = F.max_pool2d(self.conv(x, "Conv2d_2b_3x3", 1, 1), 3, 2)
        x = F.max_pool2d(self.conv(self.conv(x, "Conv2d_3b_1x1"), "Conv2d_4a_3x3"), 3, 2)
        for name in ("Mixed_5b", "Mixed_5c", "Mixed_5d"):
            x = self.block_a(x, name)
        x = self.block_b(x, "Mixed_6a")
        for name in ("Mixed_6b", "Mixed_6c", "Mixed_6d", "Mixed_6e"):
            if name == "Mixed_6d":  # TensorFlow's mixed_6
                spatial = self.conv(x, f"{name}.branch1x1")[:, :SPATIAL].permute(0, 2, 3, 1).flatten(1)
            x = self.block_c(x, name)
        x = self.block_d(x, "Mixed_7a")
        x = self.block_e(self.block_e(x, "Mixed_7b", F.avg_pool2d), "Mixed_7c", F.max_pool2d)
        pool = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return pool, spatial, pool @ self.fc_weight.T
