"""Reading, setting and reporting the variables of a simulated station of OCPP 2.x (part 2, block B)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from evproto.simulate.ocpp.v2_variables import Variable, Variables, is_of
from evproto.simulate.ocppj.model import Handler

if TYPE_CHECKING:
    from evproto.simulate.ocpp.station import StationModel

__all__ = ["Reports"]

_PER_REPORT: Final = 40


class Reports:
    """The handlers of one station for its device model; ``m`` are the payloads of the version."""

    def __init__(self, station: StationModel, m: Any) -> None:
        self._station = station
        self._m = m
        self._variables = Variables(station)
        self.handlers: dict[type, Handler] = {
            m.GetBaseReportRequest: self._base_report,
            m.GetReportRequest: self._report,
            m.GetVariablesRequest: self._get,
            m.SetVariablesRequest: self._set,
        }

    def _get(self, request: Any, now: int) -> Any:
        m, results = self._m, []
        for wanted in request.get_variable_data:
            found = self._variables.find(wanted.component, wanted.variable, now)
            value = None
            if isinstance(found, str):
                status = found
            elif str(wanted.attribute_type or "Actual") != "Actual":
                status = "NotSupportedAttributeType"
            else:
                status, value = "Accepted", found.value
            results.append(
                m.GetVariableResultType(
                    attribute_status=status,
                    attribute_type=wanted.attribute_type,
                    attribute_value=value,
                    component=wanted.component,
                    variable=wanted.variable,
                )
            )
        return m.GetVariablesResponse(get_variable_result=tuple(results))

    def _set(self, request: Any, now: int) -> Any:
        m, results = self._m, []
        for wanted in request.set_variable_data:
            found = self._variables.find(wanted.component, wanted.variable, now)
            if isinstance(found, str):
                status = found
            elif str(wanted.attribute_type or "Actual") != "Actual":
                status = "NotSupportedAttributeType"
            else:
                status = self._variables.change(found, wanted.attribute_value, now)
            results.append(
                m.SetVariableResultType(
                    attribute_status=status,
                    attribute_type=wanted.attribute_type,
                    component=wanted.component,
                    variable=wanted.variable,
                )
            )
        return m.SetVariablesResponse(set_variable_result=tuple(results))

    def _base_report(self, request: Any, now: int) -> Any:
        base = str(request.report_base)
        found = [
            variable
            for variable in self._variables.all(now)
            if base == "FullInventory"
            or (base == "ConfigurationInventory" and variable.settable)
            or (base == "SummaryInventory" and variable.summary)
        ]
        self._send(found, request.request_id, now)
        return self._m.GetBaseReportResponse(status="Accepted")

    def _report(self, request: Any, now: int) -> Any:
        found = [
            variable
            for variable in self._variables.all(now)
            if _is_wanted(variable, request.component_variable)
        ]
        for criterion in request.component_criteria or ():
            found = self._meeting(found, str(criterion), now)
        if not found:
            return self._m.GetReportResponse(status="EmptyResultSet")
        self._send(found, request.request_id, now)
        return self._m.GetReportResponse(status="Accepted")

    def _meeting(self, variables: list[Variable], criterion: str, now: int) -> list[Variable]:
        """Those of components of which a variable is true; of Active, Available and Enabled also where it is
        not there (B08.FR.09)."""
        marks = {
            (one.component, one.evse, one.connector): one.value == "true"
            for one in self._variables.all(now)
            if one.name == criterion
        }
        absent = criterion != "Problem"
        return [one for one in variables if marks.get((one.component, one.evse, one.connector), absent)]

    def _send(self, variables: list[Variable], request_id: int, now: int) -> None:
        """NotifyReport, after the answer, in as many parts as it takes."""
        m, station = self._m, self._station
        parts = [variables[at : at + _PER_REPORT] for at in range(0, len(variables), _PER_REPORT)] or [[]]

        def go(then: int) -> None:
            for number, part in enumerate(parts):
                station.tell(
                    m.NotifyReportRequest(
                        request_id=request_id,
                        generated_at=station.moment(now),
                        seq_no=number,
                        tbc=True if number < len(parts) - 1 else None,
                        report_data=tuple(self._data(variable) for variable in part) or None,
                    )
                )

        station.after(0, go, now)

    def _data(self, variable: Variable) -> Any:
        m = self._m
        evse = None
        if variable.evse is not None:
            evse = m.EVSEType(id=variable.evse, connector_id=variable.connector)
        return m.ReportDataType(
            component=m.ComponentType(name=variable.component, evse=evse),
            variable=m.VariableType(name=variable.name, instance=variable.instance),
            variable_attribute=(
                m.VariableAttributeType(
                    value=variable.value, mutability="ReadWrite" if variable.settable else "ReadOnly"
                ),
            ),
            variable_characteristics=m.VariableCharacteristicsType(
                data_type=variable.kind,
                unit=variable.unit,
                values_list=variable.values,
                supports_monitoring=False,
            ),
        )


def _is_wanted(variable: Variable, wanted: Any) -> bool:
    """Whether one of the components and variables of a GetReport means it."""
    if not wanted:
        return True
    return any(
        is_of(variable, one.component)
        and (one.variable is None or one.variable.name.lower() == variable.name.lower())
        and (one.variable is None or one.variable.instance in (None, variable.instance))
        for one in wanted
    )
