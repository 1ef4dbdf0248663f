"""The one language of filters, conditions and templates (DESIGN 4, CONTRACTS 5): read by a narrowed Jinja2 parser, checked against
an allow-list, compiled into closures over plain data, and bounded by a budget."""

from automations.engine.expressions.budget import Budget
from automations.engine.expressions.catalogue import filters, operators
from automations.engine.expressions.environment import Environment, Names
from automations.engine.expressions.errors import BudgetExceeded, EvaluationWarning, ExpressionError
from automations.engine.expressions.language import Expression, Template, compile_expression, compile_template
from automations.engine.expressions.tree import from_tree, to_tree
from automations.engine.values import MISSING

__all__ = [
    "MISSING",
    "Budget",
    "BudgetExceeded",
    "Environment",
    "EvaluationWarning",
    "Expression",
    "ExpressionError",
    "Names",
    "Template",
    "compile_expression",
    "compile_template",
    "filters",
    "from_tree",
    "operators",
    "to_tree",
]
