"""todo."""
from .base import *
