"""Exit codes of every job: one per failure class, so that a log without a result still says what happened.

0 completed; 2 bad command line; 130 and 143 interrupted by SIGINT and SIGTERM.
"""

from shared.domain.errors import FailureClass

COMPLETED = 0
BY_CLASS = {
    FailureClass.DATA: 10,
    FailureClass.RECIPE: 11,
    FailureClass.CODE: 12,
    FailureClass.PLATFORM: 13,
    FailureClass.CAPACITY: 14,
    FailureClass.LICENSE: 15,
}
