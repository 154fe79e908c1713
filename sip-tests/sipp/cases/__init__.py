"""The SIPp cases, by subject. rows.py says what they must cover."""
from .base import CALLER, CASES, DRIVER, RIDER, STRANGER
from . import slow, timers, admission, digest, screening, setup, reliable, session, ends, failures, trunks
