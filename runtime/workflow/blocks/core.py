"""Queries as steps: filter and transform detections, define a property, switch on an expression."""

from __future__ import annotations

from typing import Any

from runtime.workflow.block import Block, StepFailed
from runtime.workflow.fields import ANY, BOXES, Field, boxes, dictionary, gives, kinds, option
from runtime.workflow.query.conditions import BOX, Chain, Env
from runtime.workflow.query.literals import Answer, NamedOperations, Operations, Switch
from runtime.workflow.values import Detections

OPERATIONS = Field("operations", literal=Operations())
PARAMETERS = dictionary("operations_parameters", required=False)
DATA_OPERATIONS = option("data_operations", NamedOperations(), {})


class DetectionsFilter(Block):
    types = ("roboflow_core/detections_filter@v1", "DetectionsFilter")
    title = "Detections filter"
    fields = (boxes(), OPERATIONS, PARAMETERS)
    outputs = gives(predictions=BOXES)

    def run(self, predictions: Detections, operations: Chain, operations_parameters: Env) -> Detections:
        result = operations(predictions, {BOX: predictions, **operations_parameters})
        if not isinstance(result, Detections):
            raise StepFailed(f"operations must give detections, gave {type(result).__name__}")
        return result


class DetectionsTransformation(DetectionsFilter):
    types = ("roboflow_core/detections_transformation@v1", "DetectionsTransformation")
    title = "Detections transformation"


class PropertyDefinition(Block):
    types = ("roboflow_core/property_definition@v1", "PropertyDefinition", "PropertyExtraction")
    title = "Property definition"
    fields = (Field("data", kinds(ANY)), OPERATIONS)
    outputs = gives(output=kinds(ANY))

    def run(self, data: Any, operations: Chain) -> Any:
        return operations(data, {BOX: data})


def prepared(data: Env, operations: dict[str, Chain]) -> dict[str, Any]:
    """The data with the operations of each name applied."""
    values = dict(data)
    for name, chain in operations.items():
        if name in values:
            values[name] = chain(values[name], values)
    return values


class Expression(Block):
    types = ("roboflow_core/expression@v1", "Expression")
    title = "Expression"
    fields = (dictionary("data"), Field("switch", literal=Switch()), DATA_OPERATIONS)
    outputs = gives(output=kinds(ANY))

    def run(self, data: Env, switch: Answer, data_operations: dict[str, Chain]) -> Any:
        return switch(prepared(data, data_operations))


BLOCKS = (DetectionsFilter, DetectionsTransformation, PropertyDefinition, Expression)
