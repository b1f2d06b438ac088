"""Moves a photo instead of redrawing it: an edit carries it along the motion between the generator's own pictures.

What a small generator knows well is where things go; what a photo knows is what they look like. So the photo is
carried along the motion from the rendering without the edit to the edited one, what motion does not explain of their
difference is added, and only what was not to be seen before comes from the generator, in the photo's own colours.

    photo ── registered ── G(w) ══ motion ══ G(w') ── registered ── edited photo

Where a face's mesh is found in photo and renderings, motion is what the mesh says of it (`head.py`): a pose turns the
head as a body, a look moves its features. Elsewhere it is the flow between renderings (`..motion`). The colour of hair
is not drawn but shifted (`hair.py`). All of it goes on beyond the crop, dying out, over head and hair. A person who
changes their look is a layer of their own: they move before a wall that stays.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..edits import Edits
from ..motion import Motion, blurred, flow, lengths, motion_along, sampled, step_between
from .align import Aligned, cut
from .carried import MARGIN, Carry, reaching
from .faces import Points
from .features import Features
from .hair import hair_matte, recoloured
from .head import HEAD, STEADY, Head, Likeness, head_in
from .legs import Leg, legs_of, levels_of, mesh_in, turning_steps, working_side
from .maps import as_levels, continued, inside_of, likeness, reduced, structure
from .mediapipe import person_mask
from .outline import face_outline
from .photo import Photo

FURTHER = 1.15  # times as far as in the mesh of a rendering a face moves: found in 64 pixels, meshes are shy


@dataclass(frozen=True)
class Carrying:
    """How a photo is carried. Lengths are shares of the crop's side, levels are of 255."""

    alike: tuple[float, float] = (0.2, 0.6)  # correlation with the photo from which a rendering is believed, and fully
    alike_noise: float = 60.0  # variance that counts as none: flat skin is alike
    around: float = 0.05  # deviation of the neighbourhood in which two pictures are compared
    stays: tuple[float, float] = (0.0, 0.4)  # share of a place's structure with which it is new, and is the old
    stays_noise: float = 100.0
    light: float = 0.15  # deviation: what changes more slowly than that over a face is light, and no edit's meaning
    colour: float = 0.07  # deviation of the neighbourhood whose colours new parts take
    spread: tuple[float, ...] = (0.25, 0.125, 0.062, 0.031, 0.016)  # deviations over which motion goes on beyond a face
    turning: tuple[float, ...] = (0.3, 0.15, 0.075, 0.04)  # of a pose, where no mesh tells of the head
    inner: float = 0.05  # deviation by which a face's edge is left out of what an expression shades
    still: tuple[float, float] = (0.0006, 0.002)  # motion below the first is none, above the second is all
    wall: float = 0.02  # by which the person is dilated: beyond it nothing changes but in poses

    def likeness(self, photo: Tensor, rendering: Tensor) -> Tensor:
        return likeness(photo, rendering, self.around, self.alike_noise, self.alike)


CARRYING = Carrying()


@dataclass(frozen=True, eq=False)
class Change:
    """What an edit does to a face's mesh."""

    motion: Motion  # of crop and margin
    features: Features | None = None  # in the crop; none of a turn


@dataclass(frozen=True, eq=False)
class Carrier:
    """A photo's face, ready to be carried along any edit: all that depends on photo and reconstruction alone."""

    how: Carrying
    photo: Tensor  # the crop, [1, 3, side, side] in levels, as all that follows
    plain: Tensor  # the rendering without edits
    face: Tensor  # [1, 1, side, side]
    person: Tensor  # [1, 1, whole, whole]: the crop and its margin
    wall: Tensor  # [1, 3, whole, whole]
    registration: Tensor  # [1, 2, side, side]: where each place of the photo is in the rendering, less where it is
    alike: Tensor  # [1, 1, side, side]: how surely the rendering shows what the photo shows
    landmarks: Points | None = None  # of the face, in the crop
    head: Head | None = None  # in crop and margin; none without a mesh
    around: Tensor | None = None  # crop and margin, [1, 3, whole, whole]

    @classmethod
    def of(cls, photo: Photo, aligned: Aligned, plain: Tensor, how: Carrying | None = None) -> Carrier:
        """`plain` is the rendering without edits, [3, S, S] in [−1, 1]."""
        side = working_side(plain)
        whole = side + 2 * round(MARGIN * side)
        how = how or CARRYING
        pixels, frame = reduced(photo.pixels, aligned.frame)
        around = reaching(frame)
        crop, rendering = as_levels(cut(pixels, frame, side)), levels_of(plain[None], side)
        person, face = torch.ones(1, 1, whole, whole), torch.ones(1, 1, side, side)
        landmarks, head = None, None
        if aligned.face is not None:  # without one, everything may move
            person = F.interpolate(person_mask(cut(pixels, around, 256)), (whole, whole), mode="bilinear")
            landmarks = aligned.frame.to_crop(aligned.face.landmarks, side)
            face = face_outline(landmarks, side)
            head = head_in(photo, aligned.face, reaching(aligned.frame), person)
        wider = as_levels(cut(pixels, around, whole))
        wall = continued(wider, 1 - person)
        registration = flow(
            structure(crop), structure(rendering), levels=4, rounds=5, flat=30.0, weight=inside_of(person, side) + 0.05
        )
        alike = how.likeness(crop, sampled(rendering, registration))
        return cls(how, crop, rendering, face, person, wall, registration, alike, landmarks, head, wider)

    @property
    def side(self) -> int:
        """Pixels of the crop's side, at which motion and tone are found."""
        return self.photo.shape[-1]

    @property
    def margin(self) -> int:
        return (self.person.shape[-1] - self.side) // 2

    def edited(self, render: Callable[[Sequence[Edits]], Tensor], edits: Edits) -> Carry | None:
        """Carries the photo along edits; `render` is as `legs_of` takes it."""
        return self.along(legs_of(render, edits, turning=turning_steps(self.head is not None)))

    def along(self, legs: Sequence[Leg]) -> Carry | None:
        """Carries the photo along the legs of an edit, one after the other; none where nothing changes."""
        result = None
        for leg in legs:
            if torch.equal(leg.path[0], leg.path[-1]):
                continue
            step = self._leg(leg)
            result = step if result is None else result.then(step)
        return result

    def _leg(self, leg: Leg) -> Carry:
        how, side = self.how, self.side
        if leg.hair:
            return self._coloured(leg)
        change = self._change(leg)
        nothing, all_ = torch.zeros_like(self.wall), torch.ones_like(self.person)
        if leg.turns and change is not None:
            # The outline of a head stays, and the wall gives way where it does not: no layer of its own.
            return Carry(change.motion.resized(self.person.shape[-1]), nothing, nothing, all_, all_, self.wall)
        path = levels_of(leg.path, side)
        before, after = path[:1], path[-1:]
        found = motion_along(path / 127.5 - 1)
        acts = self._acts(leg.footprint)
        if change is not None:
            spread = change.motion.resized(self.person.shape[-1]).offset * (self.person.shape[-1] / side)
        else:
            moved = self._in_the_photo(found.offset)
            # Motion is read where the photo shows a face that the rendering knows, and goes on beyond it.
            sure = sampled(self.face * (self.alike + 0.05), moved)
            spread = self._spread(moved, sure, how.turning if leg.turns else how.spread)
        if not leg.turns:
            spread = spread * self._outer(blurred(step_between(acts, 0.03, 0.15), 0.05 * side))
            spread = spread * step_between(blurred(self.person, how.wall * side), 0.25, 0.55)
        spread = spread * step_between(lengths(spread), *how.still)
        motion = Motion(spread * side / self.person.shape[-1], torch.ones_like(spread[:, :1]))
        if leg.turns:
            return Carry(motion, nothing, nothing, all_, self.person, self.wall)
        offset = inside_of(spread, side)
        here = sampled(self.registration, offset)  # of each place of the edited photo, in the edited rendering
        new = sampled(after, here)
        old = sampled(before, here + sampled(found.offset, here))
        photo = sampled(self.photo, offset)
        alike = how.likeness(photo, old)
        face = blurred(sampled(self.face, offset), 0.02 * side)
        acts = step_between(acts, 0.12, 0.4)
        shown = 1 - face * acts * alike * (1 - self._stays(old, new) * sampled(found.visible, here))
        tone = new - old
        if bool((self.face < 1).any()):  # a portrait, whose light is no edit's meaning
            weight = sampled(self.face, offset) + 1e-3
            tone = tone - blurred(tone * weight, how.light * side) / blurred(weight, how.light * side)
        tone = tone * face * blurred(alike, 0.012 * side) * acts * self._edge()
        shown = 1 - self._edge() * (1 - blurred(shown, 0.008 * side))
        features = change and change.features
        if features:  # lips that move take their colours along, and what opens between them is new
            tone = tone * (1 - torch.maximum(features.lips, features.eyes))
            # A face that gets narrower in renderings shows their wall at its edge: no shadow of a smile lies there.
            tone = tone * (1 - features.moves * (1 - step_between(blurred(face, how.inner * side), 0.8, 0.99)))
            shown = 1 - torch.maximum((1 - shown) * (1 - features.moves), features.opened)
        missing = photo + tone - new
        fresh = new + blurred(missing * shown, how.colour * side) / (blurred(shown, how.colour * side) + 1e-3)
        if features:
            skin = (photo * face).sum(dim=(2, 3), keepdim=True) / face.sum().clamp_min(1)
            fresh = torch.lerp(fresh, features.teeth_beside(new, skin), features.opened)
        maps = (self._outer(tone), self._outer(fresh), self._outer(shown))
        return Carry(motion, *maps, self.person, self.wall)

    @cached_property
    def hair(self) -> Tensor:
        """Tells where hair is, in crop and margin [1, 1, whole, whole]; nowhere without a mesh."""
        if self.head is None or self.around is None:
            return torch.zeros_like(self.person)
        mesh = (self.head.mesh + 0.5) * (self.person.shape[-1] / HEAD) - 0.5
        return hair_matte(self.around, self.person, mesh)

    def _coloured(self, leg: Leg) -> Carry:
        """Gives another colour to all the hair that the photo shows."""
        before, after = (sampled(levels_of(x, self.side), self.registration) for x in (leg.path[:1], leg.path[-1:]))
        still, all_ = Motion.none(1, self.person.shape[-1]), torch.ones_like(self.person)
        around = self.wall if self.around is None else self.around
        tone = recoloured(around, self.hair, before, after, inside_of(self.hair, self.side) * self.alike)
        return Carry(still, tone, torch.zeros_like(tone), all_, self.person, self.wall)

    def _change(self, leg: Leg) -> Change | None:
        """Tells what an edit does to the face's mesh; none where no mesh is found in the photo or the renderings."""
        if self.head is None:
            return None
        meshes = self._meshes(leg) if leg.meshes is None else leg.meshes
        if meshes is None:
            return None
        (before, after), head = meshes, self.head
        if leg.turns:
            return Change(head.turned(Likeness.between(before, after).rotation))
        steady = Likeness.between(after[STEADY], before[STEADY])(after)
        there = Likeness.between(before, head.mesh)
        steps = FURTHER * (there(steady) - there(before))
        grown = (self.side + 2 * self.margin) / HEAD
        mesh, moved = ((x + 0.5) * grown - 0.5 - self.margin for x in (head.mesh, head.mesh + steps))
        return Change(head.moved(steps), Features.of(mesh, moved, self.side))

    def _meshes(self, leg: Leg) -> Points | None:
        """Finds the meshes at the ends of a leg; that of the plain rendering is found once."""
        assert self.landmarks is not None
        plain = torch.equal(levels_of(leg.path[:1], self.side), self.plain)
        before = self._plain_mesh if plain else mesh_in(leg.path[:1], self.landmarks, self.side)
        after = mesh_in(leg.path[-1:], self.landmarks, self.side)
        return None if before is None or after is None else np.stack([before, after])

    @cached_property
    def _plain_mesh(self) -> Points | None:
        assert self.landmarks is not None
        return mesh_in(self.plain / 127.5 - 1, self.landmarks, self.side)

    def _in_the_photo(self, offset: Tensor) -> Tensor:
        """Turns a motion of renderings into one of the photo, which lies a little beside its rendering.

        A place x of the edited photo is y = x + r(p) in the edited rendering, which was q = y + m(y) in the plain one,
        which is the photo's place p with p + r(p) = q.
        """
        moved = torch.zeros_like(offset)
        for _ in range(6):
            here = sampled(self.registration, moved)
            moved = here + sampled(offset, here) - sampled(self.registration, moved)
        return moved

    def _spread(self, offset: Tensor, sure: Tensor, deviations: Sequence[float]) -> Tensor:
        """Spreads the crop's offset at sure places over crop and margin; far from them it is none."""
        offset, sure = self._outer(offset), F.pad(sure, (self.margin,) * 4)
        total = torch.zeros_like(offset)
        for deviation in deviations:
            near = blurred(sure, deviation * self.side)
            mean = blurred(offset * sure, deviation * self.side) / (near + 1e-5)
            enough = 0.9 if deviation == deviations[-1] else 0.35  # the finest where nearly all is sure
            total = total + step_between(near, 0, enough) * (mean - total)
        return total

    def _stays(self, old: Tensor, new: Tensor) -> Tensor:
        """Tells which share of a place's structure an edit leaves: where it goes, the photo's would be stale."""
        deviation, noise = 0.03 * self.side, self.how.stays_noise
        old, new = old - blurred(old, deviation), new - blurred(new, deviation)

        def around(x: Tensor) -> Tensor:
            return blurred(x.mean(dim=1, keepdim=True), deviation)

        return step_between((around(old * new) + noise) / (around(old * old) + noise), *self.how.stays)

    def _acts(self, footprint: Tensor | None) -> Tensor:
        if footprint is None:
            return torch.ones(1, 1, self.side, self.side)
        return F.interpolate(footprint[None, None].float(), (self.side, self.side), mode="bilinear")

    def _edge(self) -> Tensor:
        """1 in the crop, falling to 0 at its edges."""
        place = (torch.arange(self.side) + 0.5) / self.side
        ramp = step_between(torch.minimum(place, 1 - place), 0, 0.08)
        return torch.minimum(ramp[:, None], ramp[None])[None, None]

    def _outer(self, x: Tensor) -> Tensor:
        return F.pad(x, (self.margin,) * 4, "replicate")
