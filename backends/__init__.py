"""The backends that come with jobd. Imported as `jobd.backends` (a link), by name through `jobd.backend.load`
only."""
