"""The one base of every pydantic model here: immutable, refuses unknown keys, and turns validation errors into one clear line."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from .errors import InputError, nearest

Model = TypeVar("Model", bound=BaseModel)


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def parse(model: type[Model], data: Any, *, where: str, error: type[InputError] = InputError) -> Model:
    """`data` as `model`, or `error` naming the first fault, its place, and the nearest known key."""
    try:
        return model.model_validate(data)
    except ValidationError as fault:
        raise error(f"{where}: {_explain(model, fault)}") from None


def _explain(model: type[BaseModel], fault: ValidationError) -> str:
    lines = []
    for item in fault.errors(include_url=False)[:3]:
        place = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            key = str(item["loc"][-1])
            known = _keys_at(model, item["loc"][:-1])
            lines.append(f"unknown key '{place}'; {nearest(key, known) or 'known here: ' + ', '.join(known)}")
        else:
            said = item["msg"].removeprefix("Value error, ")
            lines.append(f"'{place}': {said}" if place else said)
    more = fault.error_count() - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")


def _keys_at(model: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """The field names of the model reached by `path`, as far as annotations tell."""
    current: type[BaseModel] = model
    for part in path:
        field = current.model_fields.get(str(part))
        for candidate in _models_in(field.annotation) if field else ():
            current = candidate
            break
    return list(current.model_fields)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [found for inner in getattr(annotation, "__args__", ()) for found in _models_in(inner)]
