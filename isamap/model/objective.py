"""What a step of training costs: the terms of the loss and their weights."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from isamap.model import losses, settling
from isamap.model.adversary import Adversary
from isamap.model.chips import Batch
from isamap.model.networks import Images, Network, NetworkConfig, crop
from isamap.model.perceptual import Perceptual, display
from isamap.model.schedule import Schedule

Terms = dict[str, tuple[float, Tensor]]
"""Weight and value of each term."""


@dataclass(frozen=True)
class Pictures:
    """Image and target of a step without rims, in the same units."""

    fake: Tensor
    """`(n, 3, Y, X)`."""
    real: Tensor
    """`(n, 3, Y, X)`."""
    known: Tensor
    """`(n, 1, Y, X)`, 1 where there is a real image."""


class Objective:
    """The loss of one stage."""

    def __init__(
        self,
        config: NetworkConfig,
        schedule: Schedule,
        device: torch.device,
        *,
        class_weights: tuple[float, ...] | None = None,
        perceptual: Path | None = None,
    ) -> None:
        self.config, self.schedule, self.device = config, schedule, device
        self.class_weights = None if class_weights is None else torch.tensor(class_weights, device=device)
        channels, rate = schedule.discriminator_channels, schedule.discriminator_rate
        self.adversary = Adversary(channels, rate, device) if schedule.adversarial_weight else None
        self.perceptual = Perceptual(perceptual).to(device) if perceptual else None
        self.pictures: Pictures | None = None
        """What the last step showed: the discriminator learns from it."""

    def forward(self, network: Network, batch: Batch) -> tuple[Tensor | None, Images | None]:
        """Logits and images, each if a loss looks at it."""
        x = self.config.prepare(batch.lr, batch.present).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.schedule.precision == "bf16"):
            if not self.schedule.makes_images:
                return network(x), None
            made = network.images(x) if self.schedule.makes_maps else network.pictures(x)
        return (made.logits if self.schedule.makes_maps else None), made

    def terms(self, network: Network, batch: Batch, step: int) -> Terms:
        """Every term of a step's loss, chip rims left out."""
        logits, images = self.forward(network, batch)
        found: Terms = {}
        if logits is not None:
            found |= self.of_map(self.probability(logits), batch)
        if images is not None:
            found |= self.of_image(images, batch, step)
        return found

    def probability(self, logits: Tensor) -> Tensor:
        """Settled probabilities `(n, outputs, Y, X)` without rims."""
        rim, scale = self.schedule.border_px, self.config.scale
        return settling.settle(settling.activate(crop(logits, (rim - 1) * scale)), scale)

    def of_map(self, probability: Tensor, batch: Batch) -> Terms:
        """What the labels and the shares say."""
        schedule, rim = self.schedule, self.schedule.border_px
        isa = crop(batch.isa, rim * self.config.scale)
        if self.class_weights is not None:
            labels = losses.class_loss(both_sides(probability), isa, self.class_weights)
        else:
            labels = losses.segmentation_loss(probability, isa, false_positive=schedule.false_positive)
        impervious = settling.impervious(probability, self.config)[:, None]
        share = losses.share_loss(impervious, crop(batch.share, rim), crop(batch.weight, rim))
        return {"labels": (schedule.isa_weight, labels), "share": (schedule.share_weight, share)}

    def of_image(self, images: Images, batch: Batch, step: int) -> Terms:
        """What the 1 m image and the input say of the super-resolved one."""
        schedule, rim, scale = self.schedule, self.schedule.border_px, self.config.scale
        image, target, known = (crop(t, rim * scale) for t in (images.image, batch.image, batch.known))
        if self.config.visible is None or images.middle is None:
            return {"image": (schedule.image_weight, losses.image_loss(image, target, known))}
        base, present = self._base(batch, rim)
        target, known = losses.matched(target, base, known)
        self.pictures = Pictures(image, target, known)
        middle = crop(images.middle, rim * (images.middle.shape[-1] // batch.lr.shape[-1]))
        way = losses.image_loss(middle, *_shrunk(target, known, middle.shape[-1]))
        terms: Terms = {
            "image": (schedule.image_weight, losses.image_loss(image, target, known) + way),
            "consistency": (schedule.consistency_weight, losses.consistency_loss(image, base, present)),
        }
        return terms | self._looks(self.pictures, step)

    def _base(self, batch: Batch, rim: int) -> tuple[Tensor, Tensor]:
        """Red, green and blue of the input in deviations, and where all three are real."""
        assert self.config.visible is not None
        prepared = self.config.prepare(batch.lr, batch.present)
        visible = list(self.config.visible)
        present = batch.present[:, visible].amin(dim=1, keepdim=True)
        return crop(torch.sinh(prepared[:, visible]), rim), crop(present, rim)

    def _looks(self, pictures: Pictures, step: int) -> Terms:
        """What discriminator and VGG say."""
        schedule, terms = self.schedule, Terms()
        if self.adversary is not None:
            ramp = min(1.0, (step + 1) / max(1, schedule.adversarial_ramp))
            blame = self.adversary.blame(pictures.fake, pictures.known)
            terms["adversarial"] = (schedule.adversarial_weight * ramp, blame)
        if self.perceptual is not None and self.config.visible is not None:
            constants = [
                torch.tensor([values[i] for i in self.config.visible], device=self.device)
                for values in (self.config.mean, self.config.std)
            ]
            fake, real = (display(image.float(), *constants) for image in (pictures.fake, pictures.real))
            terms["perceptual"] = (schedule.perceptual_weight, self.perceptual(fake, real, pictures.known))
        return terms

    def doubt(self) -> Tensor | None:
        """Loss of the discriminator on what the last step showed."""
        if self.adversary is None or self.pictures is None:
            return None
        return self.adversary.doubt(self.pictures.fake, self.pictures.real, self.pictures.known)


def both_sides(probability: Tensor) -> Tensor:
    """Class probabilities `(n, k, Y, X)`; one output becomes two classes, pervious and impervious."""
    return probability if probability.shape[1] > 1 else torch.cat((1 - probability, probability), dim=1)


def weighted_sum(terms: Terms) -> Tensor:
    """The loss; terms without weight cost nothing."""
    parts = [weight * value for weight, value in terms.values() if weight]
    return torch.stack(parts).sum()


def _shrunk(target: Tensor, known: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Image and mask at a coarser resolution; a pixel is known if all of it is."""
    size = (side, side)
    small = torch.nn.functional.interpolate(target, size=size, mode="area")
    return small, (torch.nn.functional.interpolate(known, size=size, mode="area") > 0.999).float()
