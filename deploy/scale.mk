REPLICAS ?= 3

.PHONY: docker-scale
docker-scale: ## several online containers behind a proxy: REPLICAS=3
	docker compose -f docker-compose.yml -f deploy/scale.yml up --detach --wait --scale online=$(REPLICAS) proxy
