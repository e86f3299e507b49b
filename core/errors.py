"""Every error Candledesk raises on purpose, in one tree.

An error answers three questions: what is wrong, what was found instead, and which
command or setting repairs it. The command line prints it as one line and exits with 2.

    DeskError
    ├── ConfigError             a setting is missing or contradicts another
    ├── UnknownProductError     the exchange does not offer the product
    ├── FileError               a file cannot be written
    ├── LockHeldError           another process holds a lock
    ├── SpanError               an empty, reversed or unaligned span of time
    ├── ProviderError           the market could not be asked
    │   ├── CredentialsError    the key is malformed or was refused
    │   ├── ClockSkewError      this machine's clock disagrees with the exchange's
    │   ├── ListingUnknownError this provider cannot tell when a product's history begins
    │   └── ExchangeUnavailableError  retries are used up
    ├── StoreError              the database could not be opened, read or written
    │   ├── NotADatabaseError   the file is something else, damaged or newer than this code
    │   ├── StoreBusyError      another process kept the write lock too long
    │   ├── DiskFullError       no room for what was to be written; what was committed before stays
    │   ├── LiveFileError       a database file was touched beside DuckDB
    │   └── MixedSourcesError   two markets would be mixed in one folder
    ├── CandleFileError         a file of candles cannot be read or understood
    ├── DatasetError            a data set is missing, damaged or cannot be built
    ├── RemoteFolderError       a shared folder (DATASETS_URI, CANDIDATES_URI) cannot be read or written
    ├── TrainingError           a training process failed
    ├── ModelError              a model cannot be used
    │   ├── NoPromotedModelError
    │   └── ModelMismatchError  columns, order, hash or opset differ from the manifest
    ├── PreflightError          the runtime refuses to start
    └── AlertError              an alert target is missing or refuses
"""

from __future__ import annotations


class DeskError(Exception):
    """Base of every error raised on purpose; its text is safe to print (no secrets)."""


class ConfigError(DeskError):
    """A setting is missing, malformed or contradicts another one."""


class UnknownProductError(DeskError):
    """The exchange, or the store, does not know the product."""


class FileError(DeskError):
    """A file cannot be written."""


class LockHeldError(DeskError):
    """Another process holds a lock; ``holder`` is its process id as text, or ``unknown``."""

    def __init__(self, message: str, holder: str = "unknown") -> None:
        """Keep who holds it, for callers that word their own message."""
        super().__init__(message)
        self.holder = holder


class SpanError(DeskError):
    """A span of time is empty, reversed or not on the minute grid."""


class ProviderError(DeskError):
    """The market could not be asked."""


class CredentialsError(ProviderError):
    """The API key is malformed or was refused; the text never contains it."""


class ClockSkewError(ProviderError):
    """This machine's clock disagrees with the exchange's by more than is tolerated."""


class ListingUnknownError(ProviderError):
    """The provider cannot tell when a product's history begins; where its answers begin proves nothing."""


class ExchangeUnavailableError(ProviderError):
    """The exchange did not answer usefully within the retries allowed."""


class StoreError(DeskError):
    """The database could not be opened, read or written."""


class NotADatabaseError(StoreError):
    """The file is not a DuckDB database, is damaged, or was written by newer code."""


class StoreBusyError(StoreError):
    """Another process held the write lock for longer than the time-out."""


class DiskFullError(StoreError):
    """There is no room for what was to be written; nothing committed is lost."""


class LiveFileError(StoreError):
    """A database file was about to be touched while DuckDB has it open in this process."""


class MixedSourcesError(StoreError):
    """Candles of one product would come from two markets; nothing was stored."""


class CandleFileError(DeskError):
    """A file of candles cannot be read or understood; the text names the line."""


class DatasetError(DeskError):
    """A data set is missing, damaged or cannot be built."""


class RemoteFolderError(DeskError):
    """A folder that machines share by a URI cannot be read or written."""


class TrainingError(DeskError):
    """A training process failed, ran out of its budget or was killed."""


class ModelError(DeskError):
    """A model cannot be used."""


class NoPromotedModelError(ModelError):
    """No model is promoted for a product."""


class ModelMismatchError(ModelError):
    """A model's columns, order, hash or opset differ from its manifest."""


class PreflightError(DeskError):
    """The runtime refuses to start; the text names the command that repairs it."""


class AlertError(DeskError):
    """An alert target is missing or refuses."""
