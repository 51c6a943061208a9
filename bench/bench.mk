.PHONY: bench-compiled bench-online bench-large bench-train bench-batch bench-images bench-tables bench-faults

bench-compiled: train ## compare the compiled model with its pipeline
	$(BIN)/python bench/compiled.py

bench-online: setup ## measure the service and its peers into bench/results/online.md: needs wrk and two cores
	$(BIN)/python bench/online.py

bench-large: setup ## measure callers with one row beside callers with 10,000: needs wrk and two cores
	$(BIN)/python bench/large.py

bench-train: setup ## measure training beside a plain pandas script into bench/results/train.md
	$(BIN)/python bench/train.py

bench-batch: setup ## measure batch inference and its peers into bench/results/batch.md
	$(BIN)/python bench/batch.py

bench-images: setup ## measure image sizes and rebuild times into bench/results/images.md
	$(BIN)/python bench/images.py

bench-tables: setup ## train on real tables of many kinds beside a plain script, into bench/results/tables.md
	$(BIN)/python bench/tables.py

bench-faults: train ## try the service with kills, full disks and odd callers, into bench/results/faults.md: needs root; FULL=--full
	$(BIN)/python bench/faults.py $(FULL)
