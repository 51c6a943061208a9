.PHONY: rename
# The recipe still has the old name in it when the files have the new one.
rename: setup ## give a copy of this project its own name, NAME=...
	$(BIN)/python tools/rename.py '$(NAME)'
	$(BIN)/pip uninstall --quiet --yes trivet
	$(MAKE) docs
